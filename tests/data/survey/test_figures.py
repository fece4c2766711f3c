"""Lengths, scripts, labels, coverage, groups and tokens: the figures of a check and what is said about them."""

import numpy as np
import pytest

from luthier.data.survey import labels
from luthier.data.survey.coverage import Coverage
from luthier.data.survey.faults import Faults
from luthier.data.survey.groups import Column, Groups
from luthier.data.survey.lengths import distribution, span
from luthier.data.survey.marks import marks, pattern
from luthier.data.survey.places import Places
from luthier.data.survey.scripts import script
from luthier.data.survey.tally import MOST, Tally
from luthier.data.survey.tokens import Measured, Tokens
from luthier.errors import DataError
from luthier.spec.finding import Finding
from luthier.spec.rows import Conversation, Document, Faulty, Labeled, Message, Origin, Skipped


def talk(question: str, answer: str, system: str | None = None, tools: tuple[str, ...] = ()) -> Conversation:
    first = (Message("system", system),) if system else ()
    offered = tuple({"type": "function", "function": {"name": name}} for name in tools)
    return Conversation((*first, Message("user", question), Message("assistant", answer)), Origin("x", 1), offered)


def places(number: int) -> Places:
    found = Places()
    found.begin("x")
    found.lines.extend(range(1, number + 1))
    return found


def codes(findings: list[Finding]) -> list[tuple[str, str, int]]:
    return [(finding.severity, finding.code, finding.count) for finding in findings]


def test_a_histogram_counts_every_row_once():
    lengths = np.random.default_rng(0).integers(3, 3000, 5000)
    shown = distribution(lengths, "tokens")
    assert shown is not None and sum(part.count for part in shown.bins) == 5000
    assert all(((lengths >= part.low) & (lengths < (part.high or 1e9))).sum() == part.count for part in shown.bins)
    assert (shown.total, shown.quantiles[0], shown.quantiles[100]) == (lengths.sum(), lengths.min(), lengths.max())


def test_one_long_row_does_not_press_the_others_together():
    shown = distribution(np.array([*range(100, 200), *range(100, 200), 1_000_000]), "characters")
    assert shown is not None and [span(part) for part in shown.bins] == [
        *(f"{low}–{low + 9}" for low in range(100, 200, 10)),
        "200 and more",
    ]


@pytest.mark.parametrize("lengths", [[0], [7], [0, 0, 0], [5, 6], [2**31]])
def test_few_lengths(lengths: list[int]):
    shown = distribution(np.array(lengths, dtype=np.uint32), "tokens")
    assert shown is not None and sum(part.count for part in shown.bins) == len(lengths) and len(shown.bins) <= 3


def test_no_lengths():
    assert distribution(np.zeros(0, dtype=np.uint32), "tokens") is None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Good day", "Latin"),
        ("Schöne Grüße", "Latin"),
        ("Как дела?", "Cyrillic"),
        ("你好，世界", "Chinese characters"),
        ("これは日本語の文章です", "Japanese"),
        ("안녕하세요", "Hangul"),
        ("γειά σου, bye", "Greek"),
        ("…—→", "no letters"),
        ("", "no letters"),
    ],
)
def test_scripts(text: str, expected: str):
    assert script(text) == expected


def test_a_tally_is_bounded():
    tally = Tally()
    for i in range(MOST + 5):
        tally.add(f"name {i}", "x", i)
    tally.add("name 3", "x", 99)
    assert len(tally.counts) == MOST and tally.others == 5 and tally.total == MOST + 6
    assert tally.ranked()[0] == ("name 3", 2) and tally.places["name 3"] == ["x:3", "x:99"]


def tallied(**counts: int) -> Tally:
    tally = Tally()
    for name, count in counts.items():
        for line in range(count):
            tally.add(name, "x", line)
    return tally


def test_small_and_unbalanced_labels():
    found = labels.findings(tallied(fee=200, rate=100, card=3), Tally(), [], places(303))
    assert codes(found) == [("warning", "small-labels", 3), ("advice", "unbalanced-labels", 303)]
    assert '1 label has fewer than 10 rows: "card" (3)' in found[0].message
    assert 'always answering "fee" would be right in 66% of the rows' in found[1].message


def test_balanced_labels_need_no_word():
    assert labels.findings(tallied(fee=20, rate=30), tallied(fee=2), [], places(50)) == []


def test_a_single_label_is_an_error():
    assert codes(labels.findings(tallied(fee=20), Tally(), [], places(20))) == [("error", "single-label", 20)]


def test_labels_spelled_alike_and_labels_only_in_validation():
    found = labels.findings(tallied(card_fee=20, Card_Fee=20, rate=20), tallied(loan=3), [], places(60))
    assert codes(found) == [("warning", "labels-spelled-alike", 40), ("warning", "labels-without-training", 3)]


def test_texts_with_two_labels():
    (found,) = labels.findings(tallied(fee=20, rate=20), Tally(), [np.array([3, 7])], places(40))
    assert found.code == "contradicting-labels" and "1 text has several labels (x:4, 8)" in found.message


def test_what_is_rare_is_named_and_variety_is_not():
    coverage = Coverage()
    for i in range(2000):
        answer = "да" if i == 7 else "yes"
        coverage.add(talk("?", answer, "You are a clerk." if i != 9 else "You are a pirate.", ("fee",) if i != 11 else ("rate",)), "x", i)
    found = coverage.findings()
    assert codes(found) == [("advice", "rare-scripts", 1), ("advice", "rare-system-prompts", 1), ("advice", "rare-tools", 1)]
    assert "hardly any in Cyrillic (1) (x:7)" in found[0].message
    assert [(covered.what, covered.number) for covered in coverage.covered()] == [("script", 2), ("system prompt", 2), ("tool", 2)]
    assert [share.rare for share in coverage.covered()[0].shares] == [False, True]
    varied = Coverage()
    for i in range(2000):
        varied.add(talk("?", "yes", f"You are person {i}."), "x", i)
    assert varied.findings() == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("<|im_start|>user", ["<|im_start|>"]),
        ("<s>[INST] hi [/INST]</s>", ["<s>", "[INST]", "[/INST]", "</s>"]),
        ("<start_of_turn>model", ["<start_of_turn>"]),
        ("a < b and [1] and <think>", []),
        ("#end#", []),
    ],
)
def test_special_tokens_in_texts(text: str, found: list[str]):
    assert marks(talk(text, "ok"), pattern([])) == found


def test_the_special_tokens_of_a_model():
    assert marks(talk("<turn> here", "<turn|wide>"), pattern(["<turn>", "<turn|wide>", "word"])) == ["<turn>", "<turn|wide>"]


def test_faults_of_one_kind_are_one_finding():
    faults = Faults()
    for line, role in ((3, "bot"), (9, "human"), (10, "bot")):
        faults.add(Faulty(f'x:{line}: message 2 has role "{role}"; use "assistant".', Origin("x", line)))
    faults.add(Faulty("x:12: this line is not valid JSON at column 3: expecting value. Mend it or remove it.", Origin("x", 12)))
    found = faults.findings()
    assert codes(found) == [("error", "wrong-role", 3), ("error", "malformed-json", 1)]
    assert found[0].message == 'x:3: message 2 has role "bot"; use "assistant". So are 2 more rows: lines 9–10 of x.'
    assert found[0].places == ("x:3", "x:9", "x:10")


def test_stretches_that_are_no_rows_are_advice():
    skipped = Faults("advice")
    skipped.add(Skipped("text that belongs to no turn", Origin("x", 4)))
    assert codes(skipped.findings()) == [("advice", "skipped-text", 1)]


def test_groups_with_their_rates():
    groups = Groups("sex")
    for number in range(60):
        groups.add("f" if number % 3 else "m", Labeled("t", "yes" if number % 2 else "no", Origin("x", number)))
    women, men = groups.figures()
    assert (women.name, women.count, women.rates) == ("f", 40, {"no": 0.5, "yes": 0.5}) and men.share == pytest.approx(1 / 3)
    assert codes(groups.findings()) == [("advice", "small-groups", 20)]


def test_a_column_is_read_beside_the_rows():
    records = [(Origin("x", 1), {"sex": "f"}), Faulty("x:2: broken", Origin("x", 2)), (Origin("x", 3), {"sex": 5}), (Origin("x", 4), {})]
    column = Column("sex", iter(records))
    assert [column.value(Document("t", Origin("x", line))) for line in (1, 1, 3)] == ["f", "f", "5"]
    with pytest.raises(DataError, match="x:4: this row has no column `sex` to group by"):
        column.value(Document("t", Origin("x", 4)))


def test_a_column_with_as_many_values_as_rows_does_not_group():
    groups = Groups("id")
    for number in range(1000):
        groups.add(str(number), Document("t", Origin("x", number)))
    with pytest.raises(DataError, match="more than 1,000 values"):
        groups.add("1000", Document("t", Origin("x", 1000)))


def measured(lengths: list[int], context: int = 100, most: int = 1000) -> Tokens:
    tokens = Tokens("toy", context, lambda row: Measured(len(row.text), len(row.text) - 1), most)  # type: ignore[union-attr]
    tokens.choose(len(lengths))
    for number, length in enumerate(lengths):
        tokens.add(Document("x" * length, Origin("x", number + 1)), number)
    return tokens


def test_rows_over_the_context():
    """2 of 100 rows are a warning, 6 of 100 an error: above 5 % another task would be learned."""
    few, many = measured([50] * 98 + [101, 300]), measured([50] * 94 + [101] * 6)
    (finding,) = few.findings(places(100))
    assert (finding.severity, finding.code, finding.count) == ("warning", "too-long-rows", 2)
    assert "2 rows (2.0%) are longer than the model's context of 100 tokens (x:99, 100); the longest has 300" in finding.message
    assert [finding.severity for finding in many.findings(places(100))] == ["error"]
    assert measured([100] * 10).findings(places(10)) == []


def test_documents_may_be_longer_than_the_context():
    tokens = Tokens("toy", 100, lambda row: Measured(500, 499, divisible=True))
    tokens.add(Document("x", Origin("x", 1)), 0)
    assert tokens.findings(places(1)) == []


def test_of_many_rows_every_so_manieth_is_measured():
    tokens = measured([10] * 95, most=20)
    figures = tokens.figures(places(95))
    assert (figures.every, figures.total, figures.learned) == (5, 950, 855)


def test_characters_that_are_lost_and_rows_that_are_refused():
    tokens = Tokens(
        "toy", 100, lambda row: Measured(3, 2, {"’": 2, "é": 1}) if row.origin.line == 1 else Measured(0, refused="x:2: no template.")
    )
    for line in (1, 2):
        tokens.add(Document("x", Origin("x", line)), line - 1)
    found = tokens.findings(places(2))
    assert codes(found) == [("warning", "lost-characters", 1), ("error", "template-refuses", 1)]
    assert "most often ’ é ." in found[0].message
