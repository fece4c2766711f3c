"""`Prepared`: what one ask means for the sampler: its prompt as tokens, its rules, and what its answers are held to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Any

import numpy as np

from luthier.data import messages as chats
from luthier.errors import DataError, SettingsError
from luthier.models.constraint import LogitsMask
from luthier.models.draw import DrawRules
from luthier.serve.base import Base
from luthier.serve.opened import raw_ids
from luthier.serve.refused import Refused
from luthier.spec.rows import Message, Origin
from luthier.spec.serving import Ask
from luthier.text.dialects import Dialect
from luthier.text.renderer import Renderer

LEAST_TOP_P = 1e-6
"""OpenAI's clients may ask for 0: the likeliest token."""

LARGEST_SEED = 2**63

ROLES = ("system", "user", "assistant", "tool")

WITH_BODIES_OF_JSON = {"json", "bare", "marked"}
"""Dialects whose calls are `{"name": …, "arguments": …}` between their marks, so that an answer can be held to them."""

Tools = tuple[dict[str, Any], ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """`prompt` (n,) ids. `limit`: tokens of an answer at most; `named`: the client said so, and no context that ran out.

    `mask`: makes what one answer is held to. `tools`: those whose calls are read out of the answer. `strip`: white space around an
    answer belongs to the template.
    """

    prompt: np.ndarray
    renderer: Renderer
    limit: int
    named: bool
    rules: DrawRules
    seed: int
    strip: bool
    mask: Callable[[], LogitsMask] | None = None
    tools: Tools = ()
    forced: bool = False
    """An answer is calls and nothing else."""


def prepare(ask: Ask, base: Base) -> Prepared:
    """Raises `UserError`: a request that cannot be answered, whoever asks."""
    renderer = base.renderer_of(ask.chat_template, ask.template_arguments)
    tools = () if ask.messages is None else _tools(ask)
    prompt = _chat(ask.messages, tools, renderer) if ask.messages is not None else _raw(ask.prompt, renderer, base)
    limit = _limit(ask, len(prompt), base.context)
    _check(ask, base)
    rules = DrawRules(
        ask.temperature,
        max(ask.top_p, LEAST_TOP_P),
        ask.top_k,
        ask.min_p,
        presence_penalty=ask.presence_penalty,
        frequency_penalty=ask.frequency_penalty,
        logit_bias=ask.logit_bias,
    )
    return Prepared(
        prompt=prompt,
        renderer=renderer,
        limit=limit,
        named=ask.max_tokens is not None,
        rules=rules,
        seed=randbits(62) if ask.seed is None else ask.seed % LARGEST_SEED,
        strip=ask.messages is not None,
        mask=_mask(ask, tools, renderer, base),
        forced=bool(tools) and ask.tool_choice != "auto",
        tools=tools if tools and renderer.dialect is not None else (),
    )


def _chat(said: Sequence[dict[str, Any]], tools: Tools, renderer: Renderer) -> np.ndarray:
    """(n,): a conversation, as it was in training."""
    if not renderer.template_sources:
        raise Refused(
            "bad_request",
            "This model has no chat template, so it cannot take part in a conversation. Use /v1/completions, or a model tuned with one.",
            param="model",
        )
    return renderer.prompt_ids(_messages(said), tools)


def _messages(said: Sequence[dict[str, Any]]) -> list[Message]:
    here = Origin("messages", 1)
    try:
        found = chats.linked([chats.message(fields, here, number) for number, fields in enumerate(said, start=1)])
    except DataError as error:
        raise Refused("bad_request", str(error).removeprefix(f"{here}: "), param="messages") from error
    if not found:
        raise Refused("bad_request", "`messages` is empty. Say something.", param="messages")
    for number, message in enumerate(found):
        if message.role not in ROLES:
            raise Refused("bad_request", f"'{message.role}' is not one of {list(ROLES)} - 'messages.{number}.role'", param="messages")
    return list(found)


def _tools(ask: Ask) -> Tools:
    """Those that may be called in the answer."""
    try:
        tools = chats.tools({"tools": ask.tools}, Origin("tools", 1))
    except DataError as error:
        raise Refused("bad_request", str(error).removeprefix("tools:1: "), param="tools") from error
    match ask.tool_choice:
        case "none":
            return ()
        case "auto" | "required":
            return tools
        case {"function": {"name": str(name)}}:
            named = tuple(tool for tool in tools if tool["function"]["name"] == name)
            if not named:
                raise Refused("bad_request", f"Tool choice '{name}' is not one of the tools given.", param="tool_choice")
            return named
    raise Refused("bad_request", f"'{ask.tool_choice}' is no choice of tools.", param="tool_choice")


def _raw(prompt: str | list[int] | None, renderer: Renderer, base: Base) -> np.ndarray:
    """(n,): what is to be gone on with."""
    if prompt is None:
        raise Refused("bad_request", "There is neither `messages` nor `prompt`.", param="prompt")
    ids = raw_ids(renderer, prompt) if isinstance(prompt, str) else np.array(prompt, dtype=np.int64)
    if not len(ids):
        raise Refused("bad_request", "The prompt is empty, and this model has no token to begin a text with.", param="prompt")
    if wrong := [int(id) for id in ids if not 0 <= id < base.vocabulary]:
        raise Refused("bad_request", f"{wrong[0]} is no token of this model: it has {base.vocabulary:,}.", param="prompt")
    return ids


def _limit(ask: Ask, length: int, context: int) -> int:
    """Tokens that an answer may have."""
    left = context - length
    if ask.max_tokens == 0 and left >= 0:
        return 0
    if left < 1:
        said, param = ("messages", "messages") if ask.messages is not None else ("prompt", "prompt")
        raise Refused(
            "bad_request",
            f"This model's maximum context length is {context} tokens. However, your {said} resulted in {length} tokens. "
            f"Please reduce the length of the {said}.",
            "context_length_exceeded",
            param,
        )
    return left if ask.max_tokens is None else min(ask.max_tokens, left)


def _check(ask: Ask, base: Base) -> None:
    """What only the model can say of a request."""
    if wrong := [id for id in ask.logit_bias if not 0 <= id < base.vocabulary]:
        raise Refused("bad_request", f"`logit_bias` names {wrong[0]}, which is no token of this model.", param="logit_bias")
    if (ask.top_logprobs or 0) > base.vocabulary:
        raise Refused(
            "bad_request", f"`top_logprobs` is {ask.top_logprobs}; this model has {base.vocabulary:,} tokens.", param="top_logprobs"
        )
    if ask.n < 1 or (ask.max_tokens or 0) < 0:
        raise Refused("bad_request", "`n` must be at least 1, and `max_tokens` at least 0.", param="n")


def _mask(ask: Ask, tools: Tools, renderer: Renderer, base: Base) -> Callable[[], LogitsMask] | None:
    """What answers are held to: calls where they must be made, a schema, or one of both where calls may be made instead."""
    schema, dialect = ask.json_schema, renderer.dialect if tools else None
    if tools and ask.tool_choice != "auto":
        return _mask_of_calls(ask, tools, dialect, base)
    if schema is None:
        return None
    if dialect is not None and dialect.name in WITH_BODIES_OF_JSON:
        begin, end = _marks(dialect)
        return _tried(lambda: base.grammars.tool_calls(tools, begin, end, answer=schema), "response_format")
    return _tried(lambda: base.grammars.json_schema(schema), "response_format")


def _mask_of_calls(ask: Ask, tools: Tools, dialect: Dialect | None, base: Base) -> Callable[[], LogitsMask] | None:
    if dialect is None:
        raise Refused(
            "bad_request",
            "This model's chat template writes no tool calls that could be read back, so none can be required.",
            param="tool_choice",
        )
    if dialect.name not in WITH_BODIES_OF_JSON:
        return None  # its calls are read, but no grammar of ours says what they may look like
    begin, end = _marks(dialect)
    return _tried(lambda: base.grammars.tool_calls(tools, begin, end, required=True, single=ask.tool_choice != "required"), "tools")


def _marks(dialect: Dialect) -> tuple[str, str]:
    """What stands before and after a call's JSON."""
    return ("", "") if dialect.name == "bare" else (dialect.begin, dialect.end)


def _tried(make: Callable[[], LogitsMask], param: str) -> Callable[[], LogitsMask]:
    """Made once now, so that what cannot be held to is told before anything is drawn."""
    try:
        make()
    except SettingsError as error:
        raise Refused("bad_request", str(error), param=param) from error
    return make
