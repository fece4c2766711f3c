"""Faults 5, 17, 19 to 22 and 30: data files that would teach less, more, or something else than they seem to."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from luthier.testing import SPECIAL_TOKENS, write_jsonl

Fault = Callable[[Any], None]


def longer(number: int, times: int) -> Fault:
    """The last answer of the first `number` rows, many times over."""

    def put(bench: Any) -> None:
        rows = bench.rows
        for row in rows[:number]:
            row["messages"][-1]["content"] *= times
        bench.rows = rows

    return put


def cut(bench: Any) -> None:
    bench.set("data.too_long", "cut")


# -- 5 and 22: rows longer than the context ---------------------------------------------------------------------------------------------


def test_many_cut_answers_are_refused(bench: Any):
    """4 of 40 rows are 10 %; 5 % are accepted."""
    longer(4, 20)(bench)
    cut(bench)
    found = bench.check()["answers-cut"]
    assert found["severity"] == "error"
    assert found["count"] == 4 and [place.rpartition(":")[2] for place in found["places"]] == ["1", "2", "3", "4"]
    assert "4 of 40 rows (10.0%)" in found["message"]
    assert bench.train() == 1
    assert "10.0%" in bench.printed and not bench.out.exists()


def test_the_same_where_max_length_cuts_them(bench: Any):
    bench.set("data.max_length", 250)
    cut(bench)
    assert bench.check()["answers-cut"]["severity"] == "error"


def test_one_cut_answer_is_a_warning(bench: Any):
    longer(1, 20)(bench)
    cut(bench)
    found = bench.check()["answers-cut"]
    assert found["severity"] == "warning" and "1 of 40 rows (2.5%)" in found["message"]
    assert bench.train() == 0
    assert "Warning: 1 of 40 rows (2.5%) would lose the end" in bench.printed


def test_what_is_cut_away_without_being_learned_is_no_fault(bench: Any):
    """The long answer has weight 0: it is read, not learned."""
    rows = bench.rows
    for row in rows[:8]:
        row["messages"] += [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "And so on. " * 300, "weight": 0}]
    bench.rows = rows
    cut(bench)
    assert "answers-cut" not in bench.check()


@pytest.mark.parametrize("fault", [longer(7, 20), lambda bench: bench.set("data.max_length", 300)], ids=["context", "max_length"])
def test_rows_longer_than_the_context_are_all_named(bench: Any, fault: Fault):
    fault(bench)
    found = bench.check()["data"]
    assert found["severity"] == "error"
    assert "the limit is" in found["message"] and "; the longest is" in found["message"] and "data.too_long" in found["message"]
    assert len(re.findall(r"rows\.jsonl:\d+", found["message"])) >= 6
    assert bench.train() == 1
    assert found["message"] in bench.printed


# -- 17: lost characters ----------------------------------------------------------------------------------------------------------------


def with_words_for_tokens(bench: Any) -> None:
    """A tokenizer that has an unknown token, and no € and no ü."""
    letters = sorted(
        {char for row in bench.rows for turn in row["messages"] for char in turn["content"]} | set("abcdefghijklmnopqrstuvwxyzGZ")
    )
    vocabulary = {name: number for number, name in enumerate(["<unk>", *letters])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    save(bench, backend)
    bench.change("tokenizer_config.json", unk_token="<unk>")


def save(bench: Any, backend: tokenizers.Tokenizer) -> None:
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    backend.save(str(bench.model / "tokenizer.json"))


def says(text: str, line: int = 5) -> Fault:
    def put(bench: Any) -> None:
        rows = bench.rows
        rows[line - 1]["messages"][-1]["content"] += text
        bench.rows = rows

    return put


def test_characters_that_become_the_unknown_token(bench: Any):
    with_words_for_tokens(bench)
    assert "lost-characters" not in bench.check()
    says(" It costs 12 € in Zürich, 14 € in Genève.")(bench)
    found = bench.check()["lost-characters"]
    assert found["severity"] == "warning" and found["places"] == [f"{bench.data}:5"]
    assert "4 characters of 1 of 40 rows" in found["message"]
    assert all(f"{char} (U+{ord(char):04X})" in found["message"] for char in "€üè")


def test_characters_that_a_real_vocabulary_drops(bench: Any, shared: Path):
    bench.set("model", {"path": str(shared / "models/tinystories-656k"), "chat_template": "plain"})
    bench.set("data.max_length", 500)
    cut(bench)
    bench.rows = [row for row in bench.rows if len(row["messages"]) == 2 and row["messages"][0]["role"] == "user"][:20]
    says(" “Of course”, he said.", line=3)(bench)
    found = bench.check()["lost-characters"]
    assert "“ (U+201C)" in found["message"] and f"{bench.data}:3" in found["places"]


def test_a_tokenizer_that_writes_all_letters_small(bench: Any):
    backend = tokenizers.Tokenizer.from_file(str(bench.model / "tokenizer.json"))
    backend.normalizer = normalizers.Lowercase()
    backend.save(str(bench.model / "tokenizer.json"))
    found = bench.check()["changed-text"]
    assert found["severity"] == "warning" and "of 'P" in found["message"]


def test_a_tokenizer_that_takes_accents_off(bench: Any):
    backend = tokenizers.Tokenizer.from_file(str(bench.model / "tokenizer.json"))
    backend.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    backend.save(str(bench.model / "tokenizer.json"))
    assert "changed-text" not in bench.check()
    says(" À bientôt.")(bench)
    found = bench.check()["changed-text"]
    assert found["severity"] == "advice" and found["places"] == [f"{bench.data}:5"] and "of 'Àbientôt.'" in found["message"]


# -- 19: the same row twice -------------------------------------------------------------------------------------------------------------


def test_rows_that_stand_there_twice(bench: Any):
    bench.rows = [*bench.rows, *bench.rows[3:9]]
    found = bench.check()["duplicate-rows"]
    assert found["severity"] == "advice" and found["count"] == 6
    assert f"{bench.data}:41" in found["message"] and f"{bench.data}:4 " in found["message"]


def test_rows_that_stand_in_two_files(bench: Any):
    again = write_jsonl(bench.folder / "again.jsonl", [{**row, "id": number} for number, row in enumerate(bench.rows[:20])])
    bench.set("data.train", [str(bench.data), str(again)])
    found = bench.check()["duplicate-rows"]
    assert found["severity"] == "warning" and found["count"] == 20 and f"{again}:1" in found["places"]


@pytest.mark.parametrize("name", ["other keys", "the same file"])
def test_training_rows_in_the_validation(bench: Any, name: str):
    held = bench.folder / "held.jsonl"
    write_jsonl(held, [{"note": "x", **row} for row in bench.rows[6:9]])
    bench.set("data.validation", str(bench.data if name == "the same file" else held))
    found = bench.check()["shared-rows"]
    assert found["severity"] == "error" and found["count"] == (3 if name == "other keys" else 40)
    assert "rows.jsonl:7" in found["message"] or name == "the same file"
    assert bench.train() == 1
    assert "is also a training row" in bench.printed and not bench.out.exists()
    bench.set("preflight.accept", ["shared-rows"])
    assert bench.check()["shared-rows"]["severity"] == "advice"
    assert bench.train() == 0


def test_training_rows_in_the_validation_but_for_a_word(bench: Any):
    held = bench.folder / "held.jsonl"
    rows = bench.rows[6:9]
    for row in rows:
        row["messages"][-1]["content"] = "Well! " + row["messages"][-1]["content"].replace(".", " .  ")
    write_jsonl(held, rows)
    bench.set("data.validation", str(held))
    found = bench.check()["nearly-shared-rows"]
    assert found["severity"] == "advice" and found["count"] >= 2


# -- 20, 21 and 30: pairs and rankings --------------------------------------------------------------------------------------------------

QUESTION = "When does the bank open?"
GOOD, BAD = "The bank opens at nine every working day.", "It opens whenever somebody feels like it, I think."


def pairs(*answers: tuple[str, str]) -> list[dict[str, str]]:
    """Twenty pairs that are as they should be, then these."""
    good = [{"prompt": f"{QUESTION} ({number})", "chosen": f"{GOOD} {number}", "rejected": f"{BAD} {number}"} for number in range(20)]
    return [*good, *({"prompt": f"{QUESTION} {i}", "chosen": a, "rejected": b} for i, (a, b) in enumerate(answers))]


PAIRS: list[tuple[str, tuple[str, str], str, str]] = [
    ("the same answer twice", (GOOD, GOOD), "equal-pair", "warning"),
    ("the same but for white space", (GOOD, f"{GOOD} \n"), "equal-pair", "warning"),
    ("both empty", ("", ""), "faulty-row", "error"),
    ("both blank", (" ", "\n"), "faulty-row", "error"),
    ("one word", (GOOD, GOOD.replace("nine", "ten")), "pairs-differ-by-one-word", "warning"),
    ("one word more", (GOOD, f"{GOOD} Yes."), "pairs-differ-by-one-word", "warning"),
    ("length", (GOOD, f"{GOOD} At least I think that it does so."), "pairs-differ-in-length-only", "warning"),
    ("length in the middle", (GOOD, GOOD.replace("opens", "opens as far as anybody knows")), "pairs-differ-in-length-only", "warning"),
]  # fmt: skip


@pytest.mark.parametrize("name, pair, code, severity", PAIRS, ids=[name.replace(" ", "-") for name, *_ in PAIRS])
def test_pairs_that_say_nothing(bench: Any, name: str, pair: tuple[str, str], code: str, severity: str):
    bench.rows = pairs(pair, pair)
    found = bench.check()
    assert code in found, (name, found)
    assert found[code]["severity"] == severity and found[code]["count"] == 2
    assert f"{bench.data}:21" in found[code]["places"]


def ranking(ranks: dict[str, int], rater: str = "a", prompt: str = QUESTION) -> dict[str, Any]:
    return {"prompt": prompt, "answers": list(ranks), "ranks": list(ranks.values()), "rater": rater}


def test_rankings_that_contradict_themselves(bench: Any):
    """At nine before at ten, at ten before at noon, and at noon before at nine."""
    bench.rows = [
        ranking({"At nine.": 1, "At ten.": 2}),
        ranking({"At ten.": 1, "At noon.": 2}),
        ranking({"At noon.": 1, "At nine.": 2}),
        ranking({"Never.": 2, "Always.": 1}, prompt="When may I pay?"),
    ]
    found = bench.check()["contradicting-rankings"]
    assert found["severity"] == "warning" and f"{bench.data}:1" in found["message"]


def test_pairs_that_contradict_each_other(bench: Any):
    bench.rows = pairs((GOOD, BAD), ("At nine.", "At ten."))
    bench.rows = [*bench.rows, {"prompt": f"{QUESTION} 0", "chosen": BAD, "rejected": GOOD}]
    assert bench.check()["contradicting-rankings"]["severity"] == "warning"


def test_a_rater_who_disagrees_with_all(bench: Any):
    answers = ["At nine.", "At ten.", "At noon."]
    right, wrong = (dict(zip(answers, ranks, strict=True)) for ranks in ((1, 2, 3), (3, 2, 1)))
    rows = []
    for number in range(16):
        turned = {a: (number % 3 + r) % 3 + 1 for a, r in right.items()}
        against = {a: 4 - r for a, r in turned.items()}
        rows += [ranking(turned, rater, f"{QUESTION} {number}") for rater in ("anna", "ben", "cleo")]
        rows.append(ranking(against, "otto", f"{QUESTION} {number}"))
    assert wrong != right
    bench.rows = rows
    found = bench.check()["rater-disagrees"]
    assert found["severity"] == "warning" and '"otto"' in found["message"]


def test_every_faulty_row_is_named_at_once(bench: Any):
    lines = bench.data.read_text(encoding="utf-8").splitlines()
    lines[4] = lines[4][:-20]
    lines[11] = json.dumps({"messages": [{"role": "bot", "content": "Hello."}]})
    bench.data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = bench.check()
    assert {finding["severity"] for finding in found.values()} == {"error"}
    assert any("rows.jsonl:5" in finding["message"] for finding in found.values())
    assert any("rows.jsonl:12" in finding["message"] for finding in found.values())
