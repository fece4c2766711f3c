"""Tokens of models, counted for the key that asks: guessed before, settled by what there were."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.gateway import NoModels, key_for

from luthier.api.app import create_app
from luthier.api.metering import guessed
from luthier.api.platform import Platform, open_platform
from luthier.spec.serving import Ask, Embed, Embedded, Fault, Piece, Usage
from luthier.store.home import Home


class Parrot(NoModels):
    """A backend that says `Hi` to everything: 30 tokens read, 10 written. To `break` it says that it cannot."""

    async def answer(self, ask: Any) -> AsyncIterator[Piece]:
        if "break" in str(ask.messages or ask.prompt):
            yield Piece(error=Fault(kind="internal", message="broken"))
            return
        yield Piece(text="Hi", finish_reason="stop")
        yield Piece(usage=Usage(30, 10))

    async def embed(self, embed: Any) -> Embedded:
        return Embedded(vectors=(b"\0\0\x80\x3f",), num_tokens=25)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = open_platform(Home(str(tmp_path / "home")), Parrot())  # type: ignore[arg-type]
    opened.accounts.projects.change("default", {"tokens_per_minute": 100})
    yield opened
    opened.database.close()


@pytest.fixture
def ask(platform: Platform) -> Callable[..., Any]:
    """Posts as a key of its own."""
    client = TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"}, raise_server_exceptions=False)
    return lambda path, **body: client.post(f"/v1/{path}", json={"model": "starter", **body})


def chat(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize(
    "path, body, used",
    [
        ("chat/completions", chat(), 40),
        ("chat/completions", chat(stream=True), 40),
        ("completions", {"prompt": "Hi", "max_tokens": 20}, 40),
        ("completions", {"prompt": ["Hi", "Ho"], "max_tokens": 20}, 80),
        ("responses", {"input": "Hi"}, 40),
        ("embeddings", {"input": "Hi"}, 25),
    ],
)
def test_what_was_used_is_counted(platform: Platform, ask: Callable[..., Any], path: str, body: dict[str, Any], used: int):
    answer = ask(path, **body)
    assert answer.status_code == 200 and answer.text, answer.text
    (level,) = [level for level, _ in platform.accounts.tokens._levels.values()]
    assert level == pytest.approx(100 - used, abs=1)


def test_the_minutes_tokens_end_and_each_key_has_its_own(platform: Platform, ask: Callable[..., Any]):
    answers = [ask("chat/completions", **chat(max_tokens=20)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["type"] == "tokens" and int(answers[2].headers["retry-after"]) > 0
    assert ask("chat/completions", **chat(max_tokens=200)).headers["x-should-retry"] == "false"
    other = TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"})
    assert other.post("/v1/chat/completions", json={"model": "starter", **chat()}).status_code == 200


def test_what_failed_costs_nothing(platform: Platform, ask: Callable[..., Any]):
    assert ask("chat/completions", **chat("break", max_tokens=50)).status_code == 500
    (level,) = [level for level, _ in platform.accounts.tokens._levels.values()]
    assert level == pytest.approx(100, abs=1)


@pytest.mark.parametrize(
    "asked, tokens",
    [
        (Ask(base="b", prompt="12345678", max_tokens=5), 2 + 5),
        (Ask(base="b", prompt=[1, 2, 3], max_tokens=5, n=4), 3 + 20),
        (Ask(base="b", prompt="é" * 4), 2),  # 8 bytes
        (Ask(base="b", prompt="\ud800"), 1),
        (Embed(base="b", inputs=["1234", [1, 2]]), 1 + 2),
    ],
)
def test_a_guess_is_a_quarter_of_the_bytes_and_the_most_that_may_be_written(asked: Ask | Embed, tokens: int):
    assert guessed(asked) == tokens
