"""`Talker`: who answers for the gateway in tests, by a rule instead of a model, as honestly as `luthier.api.backend.Backend` wants it."""

import json
from collections.abc import AsyncIterator, Callable

import anyio
import numpy as np

from luthier.spec.serving import Ask, Done, Embed, Embedded, Fault, Piece, State, Usage


def echo(ask: Ask) -> str:
    """The last message, in capitals; where JSON is wanted, a judge's label or number: the last word of the first line."""
    messages = ask.messages or []
    if ask.json_schema is None:
        return str(messages[-1]["content"]).upper()
    assert "system" not in [message["role"] for message in messages[1:]], "many chat templates allow it at the beginning alone"
    asked = str(messages[0]["content"]).splitlines()[0].split()[-1]
    wanted = ask.json_schema["properties"]
    return json.dumps({"label": asked} if "label" in wanted else {"steps": [], "result": float(asked)})


class Talker:
    """`rule`: what is said; it may give a `Fault`. `delay_s`: before each answer. It counts what it is asked, and what was hung up on.

    `told`: how it says that things are.
    """

    def __init__(self, rule: Callable[[Ask], str | Fault] = echo, delay_s: float = 0.0) -> None:
        self.anew(rule, delay_s)

    def anew(self, rule: Callable[[Ask], str | Fault] = echo, delay_s: float = 0.0) -> None:
        """As if it had just been made."""
        self.rule, self.delay_s = rule, delay_s
        self.asked: list[Ask] = []
        self.told: State | None = None
        self.most_at_once = self.at_once = self.hung_up = 0

    def start(self) -> None:
        pass

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        self.asked.append(ask)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        done = False
        try:
            await anyio.sleep(self.delay_s)
            said = self.rule(ask)
            done = True
            if isinstance(said, Fault):
                yield Piece(error=said)
                return
            read = sum(len(str(message["content"])) for message in ask.messages or [])
            for word in said.split(" ")[:-1]:
                yield Piece(text=f"{word} ")
            yield Piece(text=said.split(" ")[-1], finish_reason="stop")
            yield Piece(usage=Usage(read, len(said)))
        finally:
            self.at_once -= 1
            self.hung_up += not done

    async def embed(self, embed: Embed) -> Embedded:
        """Counts of letters."""
        vectors = []
        for text in embed.inputs:
            counts = np.bincount(np.frombuffer(str(text).encode(), dtype=np.uint8), minlength=256).astype("<f4")
            vectors.append((counts / np.linalg.norm(counts)).tobytes())
        return Embedded(vectors=tuple(vectors))

    async def state(self) -> State | None:
        return self.told

    async def load(self, base: str, adapter: str | None = None) -> Done:
        return Done()

    async def unload(self, base: str, adapter: str | None = None) -> Done:
        return Done()

    async def close(self) -> None:
        pass
