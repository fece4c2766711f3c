"""Feedback over HTTP: told of stored completions and of any answers, seen by who may, and made into rows that methods take."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.api.talker import Talker
from tests.gateway import key_for, platform_in

from luthier.api.app import create_app
from luthier.api.platform import Platform, open_platform
from luthier.data.load import load
from luthier.spec.rows import Conversation, Preference, Ranking, Rating, Thumb
from luthier.spec.run import DataSource
from luthier.store.database import Database
from luthier.store.home import Home

INLINE = {"prompt": "Where is my card?", "answers": ["On its way.", "No idea."]}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = open_platform(Home(str(tmp_path / "home")), Talker())  # type: ignore[arg-type]
    yield opened
    opened.database.close()


@pytest.fixture
def as_(platform: Platform, client: TestClient) -> Callable[..., TestClient]:
    """A client of another key."""

    def made(role: str, project: str = "default") -> TestClient:
        return TestClient(client.app, headers={"authorization": f"Bearer {key_for(platform, project, role)}"})

    return made


def stored(client: TestClient, question: str = "Where is my card?", n: int = 1) -> str:
    """A completion that is kept: its id."""
    asked = {"model": "starter", "messages": [{"role": "user", "content": question}], "store": True, "n": n}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def told(client: TestClient, **said: Any) -> dict[str, Any]:
    answer = client.post("/api/feedback", json=said)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(client: TestClient, **said: Any) -> tuple[int, str]:
    answer = client.post("/api/feedback", json=said)
    return answer.status_code, answer.json()["error"]["message"]


def rows(client: TestClient, file: str, folder: Path) -> list[Any]:
    """The rows of an exported file, as training reads them."""
    path = folder / f"{file}.jsonl"
    path.write_bytes(client.get(f"/v1/files/{file}/content").content)
    return list(load(DataSource(path=str(path))).rows)


def test_a_thumb_on_a_stored_completion_holds_what_was_asked_and_said(client: TestClient):
    completion = stored(client)
    found = told(client, completion=completion, thumb="up", comment="Kind.")
    assert (found["kind"], found["thumb"], found["model"], found["completions"]) == ("thumb", "up", "starter", [completion])
    assert found["prompt"] == [{"role": "user", "content": "Where is my card?"}]
    assert found["answers"] == [[{"role": "assistant", "content": "WHERE IS MY CARD?"}]]
    assert client.delete(f"/v1/chat/completions/{completion}").status_code == 200
    assert client.get(f"/api/feedback/{found['id']}").json() == found, "it stays"


@pytest.mark.parametrize(
    "said, words",
    [
        ({}, "says one thing: `thumb`, `scores`, `ranks` or `correction`; this one has none"),
        ({**INLINE, "thumb": "up", "ranks": [1, 2]}, "this one has thumb and ranks"),
        ({"thumb": "up"}, "about a `completion`, several `completions`, or a `prompt`"),
        ({"prompt": "Hi", "thumb": "up"}, "`answers` are missing"),
        ({"completion": "chatcmpl-x", "answers": ["a"], "thumb": "up"}, "`answers` goes with `prompt`"),
        ({**INLINE, "ranks": [1, 2], "choice": 0}, "`choice` has no effect with `ranks`"),
        ({**INLINE, "thumb": "up"}, "There are 2 answers: say with `choice` which one this is about, counted from 0."),
        ({**INLINE, "thumb": "up", "choice": 2}, "`choice` is 2, counted from 0, and there are 2."),
        ({**INLINE, "ranks": [1]}, "there are 2 answers and 1 ranks"),
        ({**INLINE, "ranks": [0, 1]}, "0 is less than the minimum of 1"),
        ({"prompt": " ", "answers": ["a"], "thumb": "up"}, "the prompt is empty"),
        ({"prompt": "Hi", "answers": [""], "thumb": "up"}, "an empty answer"),
        ({"prompt": "Hi", "answers": ["a"], "correction": "a"}, "an edit that changed nothing"),
        (
            {"prompt": "Hi", "answers": [[{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]], "thumb": "up"},
            "message of the assistant's",
        ),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "answers": ["a"], "thumb": "up"}, "an image"),
        ({"prompt": "Hi", "answers": ["a"], "scores": {"helpful": "much"}}, "is not of type 'number'"),
        ({"prompt": "Hi", "answers": ["a"], "scores": {"helpful": 10**400}}, ""),
        ({"prompt": "Hi", "answers": ["a"], "thumb": "yes"}, "'yes' is not one of ['up', 'down']"),
    ],
)
def test_what_cannot_be_learned_from_is_told_at_once(client: TestClient, said: dict[str, Any], words: str):
    status, message = refusal(client, **said)
    assert status == 400 and words in message, message
    assert client.get("/api/feedback").json()["data"] == []


def test_a_completion_that_is_not_kept_is_not_found(client: TestClient):
    assert refusal(client, completion="chatcmpl-x", thumb="up") == (
        404,
        "Completion chatcmpl-x not found. Only those that were asked with `store: true` are kept.",
    )


def test_several_completions_are_ranked_where_they_answer_the_same(client: TestClient):
    first, second = stored(client), stored(client, n=2)
    found = told(client, completions=[second, first], ranks=[1, 2, 2])
    assert len(found["answers"]) == 3 and found["completions"] == [second, first]
    status, message = refusal(client, completions=[first, stored(client, "Something else?")], ranks=[1, 2])
    assert status == 400 and "different prompts" in message


def test_lists_page_and_pick(client: TestClient):
    ids = [told(client, prompt=f"Question {i}", answers=["a"], thumb="up", metadata={"team": "ab"[i % 2]})["id"] for i in range(5)]
    first = client.get("/api/feedback", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == [ids[4], ids[3]] and first["has_more"] and first["last_id"] == ids[3]
    rest = client.get("/api/feedback", params={"limit": 9, "after": first["last_id"]}).json()
    assert [one["id"] for one in rest["data"]] == ids[2::-1] and not rest["has_more"]
    assert [one["id"] for one in client.get("/api/feedback?metadata[team]=b").json()["data"]] == [ids[3], ids[1]]
    assert client.get("/api/feedback?kind=ranking").json()["data"] == []


def test_a_rater_sees_what_is_to_be_judged_and_only_what_it_said_itself(client: TestClient, as_: Callable[..., TestClient]):
    completion, other = stored(client, n=2), stored(client, "Another?")
    theirs = told(client, completion=other, thumb="down")["id"]
    rater = as_("rater")
    waiting = rater.get("/api/feedback/completions").json()
    assert [one["id"] for one in waiting["data"]] == [completion, other]
    assert "starter" not in str(waiting), "who answered is not told"
    mine = told(rater, completion=completion, ranks=[2, 1])
    assert mine["model"] is None and client.get(f"/api/feedback/{mine['id']}").json()["model"] == "starter"
    for path in ("/api/feedback", "/api/feedback/completions"):
        assert "without knowing who answered" in rater.get(path, params={"model": "starter"}).json()["error"]["message"]
    assert [one["id"] for one in rater.get("/api/feedback/completions").json()["data"]] == [other]
    assert [one["id"] for one in rater.get("/api/feedback").json()["data"]] == [mine["id"]]
    assert rater.get(f"/api/feedback/{theirs}").status_code == rater.delete(f"/api/feedback/{theirs}").status_code == 404
    assert rater.post("/api/feedback/exports", json={}).status_code == rater.get("/v1/files").status_code == 403
    assert rater.get("/v1/chat/completions").status_code == 403
    assert rater.delete(f"/api/feedback/{mine['id']}").json() == {"object": "feedback.deleted", "id": mine["id"], "deleted": True}
    assert client.get(f"/api/feedback/{theirs}").status_code == 200
    assert as_("inference").get("/api/feedback").status_code == 403


def test_what_was_said_becomes_rows_that_methods_take(client: TestClient, tmp_path: Path):
    """Of each kind one; two thumbs for one answer are one row, and the answer beside a liked one is less preferred."""
    told(client, **INLINE, thumb="up", choice=0)
    told(client, **INLINE, thumb="up", choice=0, rater="somebody else")
    told(client, **INLINE, ranks=[1, 2], rater="a")
    told(client, prompt="2 + 2?", answers=["5"], correction="4")
    told(client, prompt="3 + 3?", answers=["6"], scores={"right": 1, "kind": 0.5})
    told(client, prompt="4 + 4?", answers=["8"], thumb="down")
    told(client, prompt="4 + 4?", answers=["8"], thumb="up", rater="somebody else")
    made = client.post("/api/feedback/exports", json={}).json()
    files = {one["kind"]: one for one in made["files"]}
    found = {kind: rows(client, one["id"], tmp_path) for kind, one in files.items()}
    assert made["feedback"] == 7 and {kind: one["rows"] for kind, one in files.items()} == {kind: len(some) for kind, some in found.items()}
    assert [(type(row), len(found[kind])) for kind, (row, *_) in found.items()] == [
        (Preference, 2),
        (Thumb, 1),
        (Conversation, 1),
        (Ranking, 1),
        (Rating, 1),
    ]
    assert [(row.chosen[0].content, row.rejected[0].content) for row in found["preferences"]] == [("On its way.", "No idea."), ("4", "5")]
    assert found["rankings"][0].ranks == (1, 2) and found["rankings"][0].rater == "a"
    assert found["ratings"][0].scores == {"right": 1, "kind": 0.5}
    assert files["thumbs"]["methods"] == ["kto"] and "dpo" in files["rankings"]["methods"]
    contradicting = next(part for part in made["left_out"] if part["why"] == "thumbs up and down for the same answer")
    assert contradicting == {**contradicting, "count": 1, "feedback": ["feedback_6"]}
    assert client.get(f"/v1/files/{files['thumbs']['id']}").json()["purpose"] == "fine-tune"


def test_an_export_takes_what_is_asked_for(client: TestClient):
    told(client, **INLINE, thumb="up", choice=0, metadata={"round": "1"})
    told(client, prompt="Another?", answers=["b"], thumb="down", metadata={"round": "2"})
    made = client.post("/api/feedback/exports", json={"kinds": ["thumbs"], "metadata": {"round": "2"}}).json()
    assert [(one["kind"], one["rows"]) for one in made["files"]] == [("thumbs", 1)] and made["feedback"] == 1
    assert client.post("/api/feedback/exports", json={"rater": "nobody"}).json()["files"] == []


def test_a_prompt_that_everybody_sends_is_no_trouble(client: TestClient, platform: Platform):
    """64 answers to one prompt: compared 16 at a time, not all 2,016 pairs."""
    for i in range(64):
        told(client, prompt="Hi", answers=[f"Hello {i}"], thumb="up" if i % 2 else "down")
    files = {one["kind"]: one["rows"] for one in client.post("/api/feedback/exports", json={}).json()["files"]}
    assert files == {"thumbs": 64, "preferences": 64 // 16 * 8 * 8}


def test_letters_that_no_database_holds_are_no_servers_error(database: Database, tmp_path: Path):
    """Half a surrogate pair, in a text of every kind."""
    opened = platform_in(tmp_path / "elsewhere", database.url.render_as_string(hide_password=False))
    http = TestClient(create_app(opened), headers={"authorization": f"Bearer {key_for(opened)}"}, raise_server_exceptions=False)
    for field in ("rater", "comment", "model"):
        body = json.dumps({"prompt": "Hi", "answers": ["a"], "thumb": "up", field: "x\ud800"})
        answer = http.post("/api/feedback", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400), answer.text
    assert http.get("/api/feedback", params={"rater": "\u202e", "completion": "'; --"}).status_code == 200
    opened.database.close()
