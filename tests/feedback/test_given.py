"""Entries told one by one: what several people said of the same answers comes together, and nothing is lost on the way."""

from luthier.feedback import rules
from luthier.feedback.given import rows_of
from luthier.feedback.rules import Found
from luthier.spec.rows import Conversation, Preference, Thumb
from luthier.store.feedback import Entry


def said(number: int, *answers: str, choice: int | None = 0, prompt: str = "Hi", rater: str = "a", **what: object) -> Entry:
    kind = {"thumb": "thumb", "scores": "rating", "ranks": "ranking", "correction": "correction"}[next(iter(what))]
    turns = [[{"role": "assistant", "content": answer}] for answer in answers]
    if "correction" in what:
        what = {"correction": [{"role": "assistant", "content": what["correction"]}]}
    asked = [{"role": "user", "content": prompt}]
    return Entry("p", "key_1", rater, kind, None, asked, turns, [], choice, what, None, {}, number=number)


def shown(*entries: Entry) -> tuple[list[str], list[str]]:
    """Rows in words, and what is left out."""
    rows, left_out = [], []
    for found, _ in rows_of(entries):
        if not isinstance(found, Found):
            left_out.append(found)
            continue
        match found.row:
            case Preference(chosen=chosen, rejected=rejected):
                rows.append(f"{chosen[0].content} > {rejected[0].content}")
            case Thumb(answer=answer, good=good):
                rows.append(f"{answer[0].content} {'up' if good else 'down'}")
            case Conversation(messages=messages):
                rows.append(f"say {messages[-1].content}")
    return rows, left_out


def test_thumbs_of_two_entries_make_a_pair():
    assert shown(said(1, "a", thumb="up"), said(2, "b", thumb="down")) == (["a up", "b down", "a > b"], [])


def test_of_other_prompts_they_do_not():
    assert shown(said(1, "a", thumb="up"), said(2, "b", thumb="down", prompt="Ho")) == (["a up", "b down"], [])


def test_the_answer_beside_a_liked_one_was_passed_over():
    assert shown(said(1, "a", "b", thumb="up", choice=1)) == (["b up", "b > a"], [])
    assert shown(said(1, "a", "b", thumb="down", choice=1)) == (["b down"], [rules.NO_SIGN])


def test_raters_who_contradict_each_other():
    assert shown(said(1, "a", thumb="up"), said(2, "a", thumb="down", rater="b")) == ([], [rules.CONTRADICTING])


def test_every_correction_counts_and_takes_a_thumb_up_back():
    rows, left_out = shown(said(1, "a", thumb="up"), said(2, "a", correction="b"), said(3, "a", correction="c", rater="b"))
    assert rows == ["b > a", "say b", "c > a", "say c"] and left_out == [rules.UP_YET_MENDED]


def test_a_row_says_where_it_comes_from():
    ((found, number),) = rows_of([said(7, "a", thumb="up")])
    assert isinstance(found, Found) and str(found.row.origin) == "feedback:7" and number == 7
