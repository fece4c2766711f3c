"""Small real things to test with, for this project and for yours: a byte-level tokenizer and toy models in Hugging Face format.

Everything is made from a seed, on a CPU, in well under a second, without the network.

    folder = toy_model(tmp_path / "toy")                      # a Llama of 2 layers, with tokenizer and chat template
    folder = toy_model(tmp_path / "qwen", "qwen3", num_hidden_layers=4)
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant", "tool")
SPECIAL_TOKENS = (BOS, END, PAD, *(f"<|{role}|>" for role in ROLES))
"""Their ids follow the 256 bytes: `<|bos|>` is 256, `<|end|>` 257, `<|pad|>` 258, then one marker a role."""

CHAT_TEMPLATE = """\
{{- '<|bos|>' -}}
{%- if tools %}{{ '<|system|>tools: ' + (tools | tojson) + '<|end|>' }}{% endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|assistant|>' -}}
{%- generation -%}
{%- if message['content'] %}{{ message['content'] }}{% endif -%}
{%- for call in message['tool_calls'] or [] %}{{ '[call]' + (call['function'] | tojson) }}{% endfor -%}
{{- '<|end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
"""
"""One marker opens a turn, `<|end|>` closes it; `{% generation %}` encloses what the assistant wrote, its `<|end|>` included."""


def byte_tokenizer() -> "Tokenizer":
    """A byte-level tokenizer without merges: token `b` is byte `b`, so every string survives and lengths are easy to say."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = _letters_of_bytes()
    tokenizer = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def save_byte_tokenizer(folder: Path, chat_template: str | None = CHAT_TEMPLATE, max_length: int = 512) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and, unless None, `chat_template.jinja` into `folder`."""
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def build_model(family: str = "llama", *, seed: int = 0, **settings: Any) -> "PreTrainedModel":
    """A random model of a transformers family (its `model_type`), in fp32 and evaluation mode.

    `settings` go over the toy shape: 2 layers, 32 wide, 4 heads over 2 key/value heads, 512 positions, the byte vocabulary.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {
        "vocab_size": 256 + len(SPECIAL_TOKENS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
    }
    config = AutoConfig.for_model(family, **{**shape, **settings})
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model  # type: ignore[no-any-return]


def toy_model(folder: Path, family: str = "llama", *, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE, **settings: Any) -> Path:
    """Save `build_model(family, …)` and the byte tokenizer into `folder`, as a Hub download would lie there. Returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(family, seed=seed, **settings)
    with _no_progress_bar():
        model.save_pretrained(folder)
    save_byte_tokenizer(folder, chat_template, max_length=int(getattr(model.config, "max_position_embeddings", 512)))
    return folder


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """A toy is written before a bar could move."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def toy_conversations(number: int = 8) -> list[dict[str, Any]]:
    """Chat rows that a toy model can learn by heart: counting from k, in one or two turns, every third under a system prompt."""
    rows = []
    for k in range(number):
        turns = [("user", f"Count from {k}."), ("assistant", f"{k} {k + 1} {k + 2}")]
        if k % 2:
            turns += [("user", "Go on."), ("assistant", f"{k + 3} {k + 4}")]
        if k % 3 == 0:
            turns.insert(0, ("system", "You count."))
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return rows


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """One JSON value a line. Returns `path`."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _letters_of_bytes() -> list[str]:
    """The printable letter that stands for each byte in byte-level vocabularies.

    A byte that is a printable Latin-1 character stands for itself; the others get the letters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, next_letter = [], 0x100
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(next_letter))
            next_letter += 1
    return letters
