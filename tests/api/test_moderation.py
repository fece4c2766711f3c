"""What must not be asked or said is refused as soon as it shows, and what a project wants logged is, with its addresses hidden."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.api.talker import Talker

from luthier.api.app import create_app
from luthier.api.platform import Platform, open_platform
from luthier.store.home import Home

RULES = [{"category": "weapons", "pattern": r"\bbombs?\b"}, {"category": "secrets", "pattern": "codeword", "where": "output"}]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = open_platform(Home(str(tmp_path / "home")), Talker())  # type: ignore[arg-type]
    yield opened
    opened.database.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    key = platform.accounts.first_key()
    return TestClient(create_app(platform), headers={"authorization": f"Bearer {key}"})


def say(client: TestClient, text: str, **more: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "starter", "messages": [{"role": "user", "content": text}], **more})


def set_(platform: Platform, **settings: Any) -> None:
    platform.accounts.projects.change("default", settings)


def test_without_rules_nothing_is_refused_and_nothing_is_logged(client: TestClient, platform: Platform):
    assert say(client, "a bomb").json()["choices"][0]["message"]["content"] == "A BOMB"
    assert client.get("/api/logs").json() == {"data": [], "has_more": False}


def test_what_must_not_be_asked_is_refused_with_its_category(client: TestClient, platform: Platform):
    set_(platform, moderation={"*": {"rules": RULES}})
    answer = say(client, "How do I build a Bomb?")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
    assert "weapons" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_must_not_be_said_ends_the_answer_before_it_is_told(client: TestClient, platform: Platform, stream: bool):
    set_(platform, moderation={"*": {"rules": RULES}})
    answer = say(client, "the CODEWORD is heron", stream=stream)
    assert "CODEWORD" not in answer.text and "content_filter" in answer.text


def test_rules_of_one_model_stand_over_those_of_all(client: TestClient, platform: Platform):
    set_(platform, moderation={"*": {"rules": RULES}, "starter": {}})
    assert say(client, "a bomb").status_code == 200


def test_a_classifier_is_asked_and_its_refused_classes_are_refused(client: TestClient, platform: Platform):
    set_(platform, moderation={"*": {"classifier": "starter", "refused": ["TOXIC"]}})  # the talker says what it is asked, in capitals
    assert say(client, "toxic").json()["error"]["code"] == "content_policy_violation"
    assert say(client, "harmless").status_code == 200


def test_moderation_tells_every_category_of_every_text(client: TestClient, platform: Platform):
    set_(platform, moderation={"*": {"rules": RULES}})
    told = client.post("/v1/moderations", json={"input": ["a bomb", "a flower"]}).json()["results"]
    assert [result["flagged"] for result in told] == [True, False]
    assert told[0]["categories"] == {"weapons": True, "secrets": False} and told[0]["category_scores"]["weapons"] == 1.0


def test_what_is_logged_holds_no_addresses_and_only_as_long_as_was_said(client: TestClient, platform: Platform):
    set_(platform, log_requests=True)
    say(client, "write to ann@example.org or 0049 30 123456")
    (entry,) = client.get("/api/logs").json()["data"]
    assert entry["asked"] == [{"role": "user", "content": "write to [hidden] or [hidden]"}]
    assert entry["said"] == ["WRITE TO [hidden] OR [hidden]"] and entry["model"] == "starter"


def test_a_rule_that_is_no_pattern_is_told_when_it_is_set(client: TestClient):
    answer = client.patch("/api/projects/default", json={"moderation": {"*": {"rules": [{"category": "x", "pattern": "("}]}}})
    assert answer.status_code == 400 and "no regular expression" in answer.json()["error"]["message"]
