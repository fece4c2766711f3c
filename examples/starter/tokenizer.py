"""Trains the tokenizer of the starter model: `python -m examples.starter.tokenizer --corpus runs/starter-corpus`.

Byte-level BPE: every one of the 256 bytes is in the vocabulary, so no character is ever lost. Digits stand alone, so that
numbers are copied digit by digit. The template's markers are special tokens.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

STARTER = Path(__file__).parents[2] / "src/luthier/starter"
VOCABULARY_SIZE = 4096
PAD, BOS, EOS, END = "<|pad|>", "<|bos|>", "<|eos|>", "<|end|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|call|>")
TRAINING_BYTES = 16_000_000


def strings(row: dict[str, Any]) -> Iterator[str]:
    """The text of a row, as far as the tokenizer has to know it."""
    if "text" in row:
        yield row["text"]
    for message in row.get("messages", ()):
        yield message["content"]
        yield from (
            json.dumps({"name": call["function"]["name"]}) + call["function"]["arguments"] for call in message.get("tool_calls", ())
        )
    yield from (json.dumps(tool["function"]) for tool in row.get("tools", ()))


def texts(corpus: Path) -> Iterator[str]:
    """The texts of the corpus, as many bytes of each file as the tokenizer is trained on."""
    for path in sorted(corpus.glob("*.jsonl")):
        size = 0
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield from strings(json.loads(line))
                size += len(line)
                if size > TRAINING_BYTES / 2:
                    break


def train(rows: Iterator[str], vocabulary_size: int = VOCABULARY_SIZE) -> Tokenizer:
    """A byte-level BPE with all 256 bytes and the special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(rows, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))])
    return tokenizer


def tokenizer_config(context: int) -> dict[str, Any]:
    """What transformers' AutoTokenizer reads beside `tokenizer.json`. The chat template lies in its own file."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "additional_special_tokens": [token for token in SPECIAL_TOKENS if token not in (BOS, EOS, PAD)],
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("runs/starter-corpus"))
    parser.add_argument("--out", type=Path, default=STARTER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train(texts(options.corpus)).save(str(options.out / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
