"""A byte-level tokenizer made in a moment, GPT-2's with a template's own tokens, and the dialogues that every template must carry."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from luthier.spec.rows import Conversation, Message, Origin
from luthier.text.renderer import Renderer
from luthier.text.tokenizer import Tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIALS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
TEXTS = ["The bank opens at nine. The loan is cheap, and the rate is low.", "User: hello there\nAssistant: good morning to you"] * 8


@pytest.fixture
def tiny() -> Callable[..., Tokenizer]:
    """`tiny(specials, added)`: byte-level BPE of about 300 tokens, BOS `<s>`, EOS `</s>`."""

    def make(specials: tuple[str, ...] = SPECIALS, added: tuple[str, ...] = (), eos_ids: tuple[int, ...] = ()) -> Tokenizer:
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in specials])
        backend.add_tokens([AddedToken(text, normalized=False) for text in added])
        return Tokenizer(backend, {"bos": "<s>", "eos": "</s>"}, eos_ids)

    return make


@pytest.fixture
def chatml(tiny: Callable[..., Tokenizer]) -> Renderer:
    return Renderer(tiny(), CHATML)


@pytest.fixture(scope="session")
def gpt2_for(shared: Path) -> Callable[[str], Tokenizer]:
    """GPT-2's tokenizer with the marker-like strings of a template as added tokens; tags such as `<think>` are not special."""

    def make(template: str) -> Tokenizer:
        backend = tokenizers.Tokenizer.from_file(str(shared / "tokenizers/gpt2/tokenizer.json"))
        written = sorted(set(re.findall(r"<[|｜]?[^|｜<>\s'\"{}=]+[|｜]?>", template)))
        tags = [text for text in written if re.fullmatch(r"</?[a-z_]+>", text) and "turn" not in text and "utterance" not in text]
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in written if text not in tags and text != "<s>"])
        backend.add_tokens([AddedToken(text, normalized=False) for text in tags])
        return Tokenizer(backend, {"bos": "<|endoftext|>", "eos": "<|endoftext|>"})

    return make


@pytest.fixture
def dialogues() -> dict[str, Conversation]:
    """Everything that a chat row can have. The words of users, tools and systems stand in no answer."""
    origin = Origin("rows.jsonl", 7)
    system = Message("system", "Be a gentle zebra.")
    function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    calls = ({"id": "call00001", "type": "function", "function": function},)
    city = {"type": "object", "properties": {"city": {"type": "string", "description": "Which zebra"}}, "required": ["city"]}
    tools = ({"type": "function", "function": {"name": "get_weather", "description": "Weather for a zebra", "parameters": city}},)
    turns = (
        Message("user", "Zebra, hi"),
        Message("assistant", "Hello! How are you?"),
        Message("user", "Zebra?"),
        Message("assistant", "Good."),
    )
    thoughts = (
        Message("user", "zebra 1+1?"),
        Message("assistant", "It is 2.", reasoning="Easy sum."),
        Message("user", "zebra 2+2?"),
        Message("assistant", "It is 4.", reasoning="Another sum."),
    )
    called = (
        Message("user", "zebra weather?"),
        Message("assistant", "", tool_calls=calls),
        Message("tool", "12 zebras", tool_call_id="call00001", name="get_weather"),
        Message("assistant", "It is 12 degrees."),
        Message("user", "Thanks, zebra"),
        Message("assistant", "Welcome."),
    )
    return {
        "turns": Conversation(turns, origin),
        "system": Conversation((system, *turns), origin),
        "thinking": Conversation(thoughts, origin),
        "tools": Conversation((system, *called), origin, tools),
    }
