"""Rankings that can't all be true, and raters who disagree."""

from luthier.data.survey.places import Places
from luthier.data.survey.rankings import Rankings, Raters
from luthier.spec.rows import Message, Origin, Preference, Ranking, Rating


def turn(text: str, role: str = "assistant") -> tuple[Message, ...]:
    return (Message(role, text),)


def places(number: int) -> Places:
    found = Places()
    found.begin("r.jsonl")
    found.lines.extend(range(1, number + 1))
    return found


def preferred(*pairs: tuple[str, str, str]) -> Rankings:
    """Rows of (prompt, better, worse)."""
    rankings = Rankings()
    for number, (prompt, better, worse) in enumerate(pairs):
        rankings.prefer(Preference(turn(prompt, "user"), turn(better), turn(worse), Origin("r.jsonl", number + 1)), number)
    return rankings


def ranked(*rows: tuple[str, tuple[str, ...], tuple[int, ...], str | None]) -> Rankings:
    rankings = Rankings()
    for number, (prompt, answers, ranks, rater) in enumerate(rows):
        row = Ranking(turn(prompt, "user"), tuple(map(turn, answers)), ranks, Origin("r.jsonl", number + 1), rater)
        rankings.rank(row, number)
    return rankings


def test_a_pair_and_its_opposite_contradict():
    rankings = preferred(("q", "a", "b"), ("q", "c", "a"), ("q", "b", "a"), ("other", "b", "a"))
    assert rankings.cycles() == [[0, 2]]
    (finding,) = rankings.findings(places(4))
    assert finding.code == "contradicting-rankings" and "(r.jsonl:1, 3)" in finding.message and finding.count == 2


def test_a_circle_of_three_contradicts():
    assert preferred(("q", "a", "b"), ("q", "b", "c"), ("q", "c", "a")).cycles() == [[0, 1, 2]]


def test_what_only_looks_like_it_does_not():
    assert preferred(("q", "a", "b"), ("q", "b", "c"), ("q", "a", "c"), ("p", "b", "a"), ("q", "a", "a")).cycles() == []
    assert Rankings().findings(places(0)) == []


def test_rankings_with_ties_contradict_across_rows():
    """b and c tie in the first row, so they may be ranked in the second; that a is worse than c there may not."""
    fine = ranked(("q", ("a", "b", "c"), (1, 2, 2), None), ("q", ("b", "c"), (2, 1), None))
    assert fine.cycles() == []
    wrong = ranked(("q", ("a", "b", "c"), (1, 2, 2), None), ("q", ("c", "a"), (1, 2), None))
    assert wrong.cycles() == [[0, 1]]


def test_two_raters_may_disagree():
    assert ranked(("q", ("a", "b"), (1, 2), "ann"), ("q", ("a", "b"), (2, 1), "ben")).cycles() == []
    assert ranked(("q", ("a", "b"), (1, 2), "ann"), ("q", ("a", "b"), (2, 1), "ann")).cycles() == [[0, 1]]


def test_one_rater_who_disagrees_with_all_is_named():
    raters = Raters()
    for number in range(12):
        for rater in ("ann", "ben", "cem", "odd"):
            better = (number % 2 == 0) != (rater == "odd")
            row = Ranking(turn(f"q{number}", "user"), (turn("a"), turn("b")), (1, 2) if better else (2, 1), Origin("r", 1), rater)
            raters.rank(row)
    (finding,) = raters.findings()
    assert finding.code == "rater-disagrees" and finding.message.startswith('The rater "odd" disagrees with all the others about which')


def test_ratings_are_compared_by_criterion():
    raters = Raters()
    for number in range(12):
        for rater, shift in (("ann", 0), ("ben", 0), ("cem", 0)):
            scores = {"helpful": float(number % 5), "kind": float((number * (7 if rater == "cem" else 1) + shift) % 5)}
            raters.rate(Rating(turn(f"q{number}", "user"), turn("a"), scores, Origin("r", 1), rater))
    assert [what for what, _, _ in raters.agreements()] == ["`helpful`", "`kind`"]
    assert raters.findings() == []
