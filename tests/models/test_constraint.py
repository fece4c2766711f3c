"""What a mask allows next, token by token, with the starter model's tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.models.constraint import Grammars
from luthier.text.tokenizer import Tokenizer

MOOD = {"type": "object", "properties": {"mood": {"enum": ["glad", "sad"]}}, "required": ["mood"]}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    pytest.importorskip("llguidance")
    return Tokenizer.load(Path(luthier.__file__).parent / "starter")


@pytest.mark.parametrize(
    "parameters, others",
    [
        (MOOD, False),
        ({**MOOD, "additionalProperties": True}, True),
        ({**MOOD, "patternProperties": {"^x": {"type": "string"}}}, True),
        ({"type": "object"}, True),
    ],
)
def test_a_call_has_the_arguments_that_its_tool_names(tokenizer: Tokenizer, parameters: dict[str, Any], others: bool):
    """instructor's schemas, as pydantic writes them, do not say whether there may be others: a small model went on adding some."""
    tool = {"type": "function", "function": {"name": "greet", "parameters": parameters}}
    mask = Grammars(tokenizer, tokenizer.vocab_size).tool_calls([tool], "<call>", "</call>", required=True)
    begun = "<call>" + json.dumps({"name": "greet", "arguments": {"mood": "glad"}}).rstrip("}")
    for token in tokenizer.encode(begun):
        mask.advance(int(token))
    comma, end = (int(tokenizer.encode(text)[-1]) for text in (",", "}"))
    assert mask.allowed()[end] and bool(mask.allowed()[comma]) == others
