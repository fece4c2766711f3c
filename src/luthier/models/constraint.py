"""Which tokens may come next: a JSON schema, or calls of tools, that an answer must keep to. Grammars are llguidance's."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from luthier.errors import SettingsError
from luthier.text.tokenizer import Tokenizer

WORD = 32
"""Tokens of one number in llguidance's masks."""

SPACES = {"x-guidance": {"whitespace_pattern": r"[ \n]{0,16}"}}
"""Between the parts of JSON: without a limit a weak model may write nothing else for ever."""

OPENING = {"additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref", "if"}
"""What in a schema of arguments says that there may be others than its `properties`."""


class LogitsMask(Protocol):
    """`allowed` (V,) bool is asked before each token, `advance` told afterwards. One object serves one answer."""

    def allowed(self) -> np.ndarray: ...
    def advance(self, token: int) -> None: ...


class Grammars:
    """Makes masks for one tokenizer. Takes up to a second, so make it once.

    Args:
        num_logits: the width of the model's logits, which may be more than the tokenizer's vocabulary.
    Raises:
        SettingsError: llguidance is not installed, or the tokenizer has no end token.
    """

    def __init__(self, tokenizer: Tokenizer, num_logits: int) -> None:
        try:
            from llguidance import LLTokenizer
        except ModuleNotFoundError:
            raise SettingsError(
                "Holding answers to a JSON schema or to tool calls needs llguidance, which is not installed: pip install 'luthier[grammar]'"
            ) from None
        if not tokenizer.eos_ids:
            raise SettingsError("This model names no end token, so an answer that keeps to a schema could not end. Name its `eos_token`.")
        self.num_logits = num_logits
        self._special = {text: id for text, id in tokenizer.added.items() if id in tokenizer.special_ids}
        self._tokenizer = LLTokenizer(tokenizer.to_json(), n_vocab=num_logits, eos_token=sorted(tokenizer.eos_ids))

    def json_schema(self, schema: Mapping[str, Any]) -> "GrammarMask":
        """Text that is JSON of this schema, and then the end.

        Raises:
            SettingsError: no valid schema, or one with keywords that cannot be held to.
        """
        from llguidance import LLMatcher

        return self._mask(LLMatcher.grammar_from_json_schema({**SPACES, **schema}), "This JSON schema")

    def tool_calls(
        self,
        tools: Sequence[Mapping[str, Any]],
        begin: str,
        end: str,
        required: bool = False,
        single: bool = False,
        answer: Mapping[str, Any] | None = None,
    ) -> "GrammarMask":
        """Calls `{"name": …, "arguments": …}` of these tools, each between `begin` and `end`, as the chat template writes them.

        Args:
            tools: `{"type": "function", "function": {"name", "parameters"}}`. begin: may be empty where an answer is either text or calls.
            required: no text beside the calls, and at least one; `single`: no more than that one. answer: the schema of JSON that may be
            said instead of calls.
        Raises:
            SettingsError: as `json_schema`.
        """
        from llguidance import StructTag

        functions = [tool.get("function", tool) for tool in tools]
        if begin and not required and answer is None:
            tags = [StructTag(trigger=begin, begin=begin + _head(f), grammar=_parameters(f), end="}" + end) for f in functions]
            return self._mask(StructTag.to_grammar(tags, assume_special=False), "The parameters of these tools")
        call = " ".join(part for part in (self._spelled(begin), "call", self._spelled(end)) if part)
        calls = f"({call})" if single else f"({call})+"
        start = f"start: {calls}" if required else f"start: TEXT | {calls}\nTEXT: /[^{{](.|\\n)*/"
        if answer is not None:
            start = f"start: answer | {calls}\nanswer: %json {json.dumps({**SPACES, **answer})}"
        grammar = f"%llguidance {{}}\n{start}\ncall: %json {json.dumps({'anyOf': [_call(f) for f in functions], **SPACES})}\n"
        return self._mask(grammar, "The parameters of these tools")

    def _spelled(self, text: str) -> str:
        """A mark as grammars write it: special tokens by their ids, all else in quotes."""
        if not text:
            return ""
        parts = re.split(f"({'|'.join(map(re.escape, self._special))})", text) if self._special else [text]
        return " ".join(f"<[{self._special[part]}]>" if part in self._special else json.dumps(part) for part in parts if part)

    def _mask(self, grammar: str, what: str) -> "GrammarMask":
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise SettingsError(f"{what} cannot be held to: {matcher.get_error()}")
        return GrammarMask(matcher, self.num_logits)


class GrammarMask:
    """A `LogitsMask` of one answer. Once the grammar is done, only end tokens are allowed."""

    def __init__(self, matcher: Any, num_logits: int) -> None:
        self._matcher = matcher
        self._num_logits = num_logits
        self._words = np.zeros((1, -(-num_logits // WORD)), dtype=np.int32)

    def allowed(self) -> np.ndarray:
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._words)
        return np.unpackbits(self._words.view(np.uint8), bitorder="little")[: self._num_logits].astype(bool)

    def advance(self, token: int) -> None:
        """Raises `ValueError` on a token that was not allowed: whoever drew it did not look at the mask."""
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} does not keep to the grammar: {self._matcher.get_error()}")


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    return {**_arguments(function), **SPACES}


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call's arguments: only those it names, unless it says of others. A weak model would make them up for ever."""
    schema = dict(function.get("parameters") or {"type": "object"})
    if "properties" in schema and not schema.keys() & OPENING:
        schema["additionalProperties"] = False
    return schema


def _head(function: Mapping[str, Any]) -> str:
    """What stands before a call's arguments."""
    return f'{{"name": {json.dumps(function["name"])}, "arguments": '


def _call(function: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": function["name"]}, "arguments": _arguments(function)}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": False}
