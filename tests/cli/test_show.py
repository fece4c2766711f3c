"""`luthier show` as a user types it: which row is taken, brackets without colours, JSON, the page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.cli._shown import BRACKETS, SHADES, draw, painted
from luthier.cli.show import chosen
from luthier.spec.rows import Document, Faulty, Origin, Skipped
from luthier.testing import write_jsonl
from luthier.text.shown import MEANINGS, Part, Shown, Token


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Line 2 is blank, line 4 is no row."""
    lines = [{"prompt": "1+1?", "completion": "2"}, {"prompt": "2+2?", "completion": "4"}, {"prompt": "no answer"}]
    file = write_jsonl(tmp_path / "sums.jsonl", lines)
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([first, "\n", *rest]), encoding="utf-8")
    return file


def test_the_first_row_in_brackets(luthier, rows: Path, toy_folder: Path) -> None:
    code, out, err = luthier("show", rows, "--model", toy_folder)
    assert (code, err) == (0, "")
    assert "⟨<|user|>⟩1+1?⟨<|end|>⟩⟨<|assistant|>⟩{+2⟨<|end|>⟩+}" in out
    assert out.splitlines()[0].startswith(f"{rows}:1  conversation: 10 tokens, 2 learned.")
    assert out.count("{+trained+} learned") == 1, "one legend"


@pytest.mark.parametrize("arguments", [["--row", 3], ["--line", 3]])
def test_a_row_is_named_by_its_line(luthier, rows: Path, toy_folder: Path, arguments: list[Any]) -> None:
    _, out, _ = luthier("show", rows, *arguments, "-m", toy_folder)
    assert "2+2?" in out and "1+1?" not in out


def test_a_row_is_named_as_messages_do(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", f"{rows}:3", "-m", toy_folder)
    assert "2+2?" in out


def test_a_line_where_no_row_begins_shows_the_one_before_and_says_so(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "--row", 2, "-m", toy_folder)
    assert out.startswith(f"No row of {rows} begins at line 2; the nearest begins at line 1.")
    assert "1+1?" in out


def test_a_row_that_cannot_be_used_is_its_sentence(luthier, rows: Path) -> None:
    code, out, err = luthier("show", rows, "--row", 4)
    assert (code, out) == (1, "")
    assert err.startswith(f"{rows}:4: ")


def test_several_rows(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "--count", 3, "-m", toy_folder)
    assert "1+1?" in out and "2+2?" in out and f"{rows}:4: " in out, "the faulty one is said"


def test_json_holds_every_token(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "-m", toy_folder, "--json")
    shown = json.loads(out)
    (row,) = shown["rows"]
    tokens = row["parts"][0]["tokens"]
    assert (shown["max_length"], row["num_tokens"], row["num_trained"]) == (512, 10, 2)
    assert tokens[-2] == {"id": ord("2"), "text": "2", "kind": "trained", "weight": 1.0}
    assert tokens[-1] == {"id": 257, "text": "<|end|>", "kind": "special", "weight": 1.0}


def test_settings_of_the_run_hold(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "-m", toy_folder, "data.max_length=9")
    assert "[~<|end|>~]" in out and "`data.too_long` says" in out


def test_settings_that_would_change_nothing_are_refused(luthier, rows: Path) -> None:
    code, _, err = luthier("show", rows, "train.epochs=2")
    assert (code, err.startswith("`train.epochs=2` changes nothing here")) == (1, True)


def test_the_page_needs_nothing_else(luthier, rows: Path, toy_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "row.html"
    code, out, _ = luthier("show", rows, "-m", toy_folder, "--html", page, "--count", 2)
    text = page.read_text(encoding="utf-8")
    assert (code, out) == (0, f"{page}\n")
    HTMLParser().feed(text)
    assert not re.search(r"https?:|<script|<link|url\(|@import", text)
    assert text.count('<p class="tokens">') == 2
    assert '<span class="special learned"><span class="token" title="token 257 · weight 1">&lt;|end|&gt;</span></span>' in text


def test_a_model_that_is_not_here_is_a_sentence(luthier, rows: Path) -> None:
    code, _, err = luthier("show", rows, "--model", "nobody/nothing")
    assert code == 1 and "neither a folder here nor in the Hugging Face cache" in err


def test_colours_and_brackets_know_every_kind() -> None:
    assert set(SHADES) == {*MEANINGS, "special, trained"}
    assert set(BRACKETS) == set(MEANINGS) - {"context"}


def test_each_token_has_the_colours_of_its_kind_in_turns() -> None:
    text = painted([Token("a", "trained", 1, 1), Token("b", "trained", 1, 2), Token("<e>", "special", 1, 3), Token("x", "dropped")])
    styles = [SHADES["trained"][0], SHADES["trained"][1], SHADES["special, trained"][0], SHADES["dropped"][1]]
    assert text.plain == "ab<e>x"
    assert [span.style for span in text.spans] == styles


def test_a_terminal_leaves_out_the_middle_of_a_long_row() -> None:
    tokens = tuple(Token("a", "context", 0, 1) for _ in range(5000))
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system="truecolor")
    draw(console, [Shown("document", Origin("a.txt", 1), (Part("", tokens),))], "starter", 8000)
    assert "… 2,000 tokens more" in console.file.getvalue()


def test_rows_from_one_place_stand_together_and_skipped_stretches_do_not_count() -> None:
    def row(line: int) -> Document:
        return Document(f"row {line}", Origin("a", line))

    file = [row(1), Skipped("no", Origin("a", 2)), row(3), row(3), Faulty("bad", Origin("a", 5)), row(6)]
    assert chosen(file, 3, 1) == [row(3), row(3)]
    assert chosen(file, 3, 2) == [row(3), row(3), Faulty("bad", Origin("a", 5))]
    assert chosen(file, 99, 1) == [row(6)]
    assert chosen(file[4:], 1, 1) == [Faulty("bad", Origin("a", 5))]


def test_it_starts_without_torch(rows: Path) -> None:
    program = f"import sys; from luthier.cli.main import run; run(['show', {str(rows)!r}]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_prompts_that_count_a_little_are_shown_with_their_weight(luthier, rows: Path, toy_folder: Path) -> None:
    """All but the first token are learned: the question at half, the answer in full."""
    _, out, _ = luthier("show", rows, "--model", toy_folder, "method.prompt_weight=0.5")
    assert out.splitlines()[0].startswith(f"{rows}:1  conversation: 10 tokens, 9 learned.")
    assert "×0.5" in out and "2⟨<|end|>⟩+}" in out


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "1+1?", "chosen": "2", "rejected": "11"}])


@pytest.mark.parametrize(
    "settings, learned, note",
    [
        (["method=dpo"], "5 learned", ""),
        (["method=orpo", "method.odds_weight=0.5"], "5 learned", ""),
        (["method=reward_model"], "2 learned", "`reward_model` reads one number at the last token of each answer"),
        (["method=ppo"], "0 learned", "`ppo` learns from the answers that the policy draws to this prompt."),
        (["method=grpo"], "0 learned", "`grpo` learns from the answers that the policy draws to this prompt."),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_pair_as_each_method_scores_it(luthier, judged: Path, toy_folder: Path, settings: list[str], learned: str, note: str) -> None:
    """Bytes are tokens: `2` and `11` with their ends are 2 + 3 learned ones; a reward model reads the 2 ends."""
    code, out, err = luthier("show", judged, "--model", toy_folder, *settings)
    assert (code, err) == (0, "")
    assert learned in out.splitlines()[0] and note in out
    assert ("rejected" in out) is (learned != "0 learned")


def test_what_a_prompt_is_beside_a_demonstration(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "--model", toy_folder, "method=ppo", "method.ptx=0.1")
    assert "2 learned" in out and "imitates the row's own beside them (`ptx`)" in out


def test_everything_is_learned_of_a_conversation_in_pre_training(luthier, rows: Path, toy_folder: Path) -> None:
    _, out, _ = luthier("show", rows, "--model", toy_folder, "method=pretrain")
    assert "10 tokens, 9 learned" in out


@pytest.mark.parametrize(
    "settings, said",
    [
        (["method=kto"], "this is a conversation, but `kto` learns from `thumbs`"),
        (["method=dpoo"], "there is no `dpoo`. Did you mean `dpo`?"),
        (["method.promt_weight=1"], "`sft` has no setting `method.promt_weight`. Did you mean `prompt_weight`?"),
        (["method.prompt_weight=2"], "It must be a number, at least 0 and at most 1."),
        (["method=./mine.py"], "would have to be run to know what it learns"),
    ],
)
def test_what_a_method_does_not_take_is_a_sentence(luthier, rows: Path, toy_folder: Path, settings: list[str], said: str) -> None:
    code, _, err = luthier("show", rows, "--model", toy_folder, *settings)
    assert code == 1 and said in err
