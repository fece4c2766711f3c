"""What the gateway and the sampler process say to each other, and how: one request a connection, answered by one or more replies.

They talk over a Unix socket. A frame is its length in four bytes (big-endian) and one message in msgpack, whose bytes carry token bytes
and vectors as they are. A connection that ends before its last reply was read is a client that hung up.
"""

import asyncio
from typing import Any, Literal, TypeVar

import msgspec

LARGEST = 64 * 2**20
"""Bytes of one frame."""

ANY_OBJECT: dict[str, Any] = {"type": "object"}
"""The schema of an answer that is to be some JSON object."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What work costs here, in whichever currency: `/metrics` tells with it what each project's jobs have cost. 0: it is not counted."""

    an_hour: float = 0.0
    """Of a machine, for each hour in which a job trains on it."""
    a_kwh: float = 0.0
    """Of energy, as each run estimates it."""

    def of(self, seconds: float, energy_wh: float) -> float:
        return self.an_hour * seconds / 3600 + self.a_kwh * energy_wh / 1000


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ask"):
    """Answers wanted: to `messages`, as a chat, or to `prompt`, which is gone on with."""

    base: str
    """A model folder, a Hugging Face id that is on this machine, or `starter`."""
    adapter: str | None = None
    """The folder of an adapter in PEFT's format; None for the base itself."""
    chat_template: str | None = None
    """As `model.chat_template` of a run: the template that the adapter was trained with, where that is not the base's own."""
    template_arguments: dict[str, Any] = {}
    """As `model.template_arguments` of a run."""
    messages: list[dict[str, Any]] | None = None
    """In OpenAI's shape: developer, system, user, assistant (with `tool_calls`), tool."""
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] = "auto"
    """`none`, `auto`, `required`, or `{"type": "function", "function": {"name": …}}`."""
    prompt: str | list[int] | None = None
    """Text, or token ids."""
    n: int = 1
    max_tokens: int | None = None
    """Of each answer; None for what the context leaves. 0 with `echo` only looks at the prompt."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """The same seed gives the same answers; None for others each time."""
    top_logprobs: int | None = None
    """Log-probabilities with each token, and of so many of the likeliest; None for none."""
    echo: bool = False
    """Tell the prompt too, with the log-probabilities of its tokens where those are asked for. For `prompt` only."""
    json_schema: dict[str, Any] | None = None
    """What the answer must fit; `ANY_OBJECT` for any JSON object."""
    key: str = ""
    """Whose request this is: places are given to keys in turn."""


class Embed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="embed"):
    """Vectors wanted: the mean of a base's last hidden states over each input, of length 1."""

    base: str
    inputs: list[str | list[int]]
    key: str = ""


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="load"):
    """Bring a base into memory, and say when it is there or why it cannot be."""

    base: str


class Unload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="unload"):
    """Let go of an adapter, or of a base with all of its adapters. What is in use stays until it is not."""

    base: str
    adapter: str | None = None


class Look(msgspec.Struct, frozen=True, tag="look"):
    """How things are."""


Said = Ask | Embed | Load | Unload | Look
"""What the gateway can say."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One token. `text`: what it adds to the text; empty where it completes no character. `id` is -1 where a server does not tell it."""

    id: int
    text: str
    bytes: bytes
    logprob: float | None = None
    """None for a prompt's first token, before which there is nothing."""
    top: tuple["Token", ...] = ()
    """The likeliest tokens at this place, the likeliest first."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one ask: its prompt once, all of its answers; and those of the prompt that needed no computing."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no answer. `code` and `param` are those of OpenAI's errors."""

    kind: Literal["bad_request", "overloaded", "not_found", "internal"]
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds, where `overloaded`."""


Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class Piece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="piece"):
    """A stretch of one answer. The last one of an ask has `usage`, or an `error`."""

    index: int = 0
    """Which of the `n` answers."""
    text: str = ""
    tokens: tuple[Token, ...] = ()
    """Those of this stretch, where log-probabilities are asked for."""
    prompt_text: str | None = None
    """With `echo`, in each answer's first piece: what the prompt says."""
    prompt_tokens: tuple[Token, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Whole calls in OpenAI's shape, with the piece that finishes the answer."""
    finish_reason: Finish | None = None
    usage: Usage | None = None
    error: Fault | None = None

    @property
    def last(self) -> bool:
        """Nothing comes after it."""
        return self.usage is not None or self.error is not None


class Embedded(msgspec.Struct, frozen=True, kw_only=True, tag="embedded"):
    """A vector for each input, as 32-bit floats, little-endian; and how many tokens were read."""

    vectors: tuple[bytes, ...] = ()
    num_tokens: int = 0
    error: Fault | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """It was done, or could not be."""

    error: Fault | None = None


class AdapterState(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter that is in memory."""

    folder: str
    num_bytes: int


class BaseState(msgspec.Struct, frozen=True, kw_only=True):
    """A base: what the probe found, how it computes, and who uses it. `reason`: the probe's findings, or why it cannot be used."""

    folder: str
    status: Literal["loading", "ready", "refused"]
    reason: str = ""
    tier: int | None = None
    dtype: str | None = None
    context: int | None = None
    num_bytes: int = 0
    waiting: int = 0
    running: int = 0
    token_budget: int = 0
    tokens_held: int = 0
    adapters: tuple[AdapterState, ...] = ()


class ModelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one model did since the process began: a base (`adapter` None), or an adapter on it."""

    base: str
    adapter: str | None = None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True, tag="state"):
    """The process and what it did since it began.

    `first_token_counts[i]`: answers whose first token came within `first_token_bounds[i]` seconds and no earlier bound; the last count is
    of those that took longer than every bound.
    """

    pid: int
    uptime_s: float
    memory_bytes: int
    waiting: int = 0
    running: int = 0
    requests: int = 0
    overloaded: int = 0
    cancelled: int = 0
    failed: int = 0
    first_token_bounds: tuple[float, ...] = ()
    first_token_counts: tuple[int, ...] = ()
    first_token_sum_s: float = 0.0
    bases: tuple[BaseState, ...] = ()
    models: tuple[ModelCounts, ...] = ()


Told = Piece | Embedded | Done | State
"""What the sampler process can reply."""

Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()


def framed(message: Said | Told) -> bytes:
    """A message as it goes over the socket."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


async def receive(reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[Message]") -> Message:
    """The next message.

    Raises:
        EOFError: the other side has gone. ValueError: no message of the kind that is expected.
    """
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > LARGEST:
        raise ValueError(f"A frame of {length:,} bytes is more than the {LARGEST:,} that one may have.")
    return decoder.decode(await reader.readexactly(length))
