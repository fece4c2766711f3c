"""Feedback on each kind of database: found by what it is about, by pages, and never another project's."""

import pytest
from sqlalchemy import insert

from luthier.store.database import Database
from luthier.store.feedback import Entry, FeedbackStore, Which
from luthier.store.tables import stored


def said(project: str = "p", key: str = "key_1", thumb: str = "up", about: tuple[str, ...] = (), **more: str) -> Entry:
    prompt, answer = [{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]
    return Entry(project, key, key, "thumb", "m", prompt, [answer], [], 0, {"thumb": thumb}, None, more, about)


def test_it_is_read_as_it_was_told(database: Database):
    kept = FeedbackStore(database).add(said(about=("chatcmpl-b", "chatcmpl-a")))
    assert FeedbackStore(database).get("p", kept.number) == kept
    assert kept.created_at > 1e9 and kept.completions == ("chatcmpl-b", "chatcmpl-a")
    assert FeedbackStore(database).get("q", kept.number) is None


def test_pages_by_what_is_looked_for(database: Database):
    store = FeedbackStore(database)
    numbers = [store.add(said(team="a" if i % 3 == 0 else "b", about=("one",) if i == 4 else ())).number for i in range(9)]
    store.add(said(project="q", team="a"))
    first = store.newest("p", 2, None, Which(metadata={"team": "a"}))
    assert [one.number for one in first] == [numbers[6], numbers[3]]
    assert [one.number for one in store.newest("p", 2, first[-1].number, Which(metadata={"team": "a"}))] == [numbers[0]]
    assert [one.number for one in store.newest("p", 9, None, Which(completion="one"))] == [numbers[4]]
    assert store.newest("p", 9, None, Which(kind="ranking")) == store.newest("p", 9, None, Which(key="key_2")) == []


def test_more_than_one_query_reads(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("luthier.store.feedback.AT_ONCE", 2)
    store = FeedbackStore(database)
    numbers = [store.add(said(about=(f"c{i}",))).number for i in range(5)]
    found = store.newest("p", 4)
    assert [(one.number, one.completions) for one in found] == [(numbers[i], (f"c{i}",)) for i in (4, 3, 2, 1)]


def test_what_is_taken_back_is_gone_with_what_it_was_about(database: Database):
    store = FeedbackStore(database)
    number = store.add(said(about=("one",))).number
    store.remove("q", number)
    assert store.get("p", number) is not None, "it is not theirs"
    store.remove("p", number)
    assert store.get("p", number) is None and store.newest("p", 9, None, Which(completion="one")) == []


def test_what_a_key_has_not_judged_yet(database: Database):
    store = FeedbackStore(database)
    row = {"kind": "chat.completion", "model": "m", "request": {}, "body": {}, "request_id": "r", "project": "p"}
    with database.write() as connection:
        for i in range(5):
            connection.execute(insert(stored).values({**row, "id": f"c{i}", "created_at": float(i), "model": "m" if i else "other"}))
        connection.execute(insert(stored).values({**row, "id": "theirs", "created_at": 9.0, "project": "q"}))
        connection.execute(insert(stored).values({**row, "id": "resp", "created_at": 9.0, "kind": "response"}))
    store.add(said(about=("c1", "c3")))
    store.add(said(key="key_2", about=("c2",)))

    def left(key: str, **more: str) -> list[str]:
        return [kept.id for kept in store.unjudged("p", key, 9, **more)]

    assert left("key_1") == ["c0", "c2", "c4"] and left("key_2") == ["c0", "c1", "c3", "c4"]
    assert left("key_1", after="c2") == ["c4"] and left("key_1", model="m") == ["c2", "c4"]
    assert left("key_1", after="theirs") == left("key_1", after="nothing") == []
