"""Writes the settings of the starter model: `python -m examples.starter.config`. A small Llama that fits the wheel."""

import argparse
import json
from pathlib import Path
from typing import Any

from examples.starter.tokenizer import BOS, END, EOS, PAD, SPECIAL_TOKENS, STARTER, VOCABULARY_SIZE, tokenizer_config

CONTEXT = 1024


def model_config() -> dict[str, Any]:
    """Deep and narrow, with tied embeddings and two key-value heads: at this size, layers are worth more than width."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": SPECIAL_TOKENS.index(BOS),
        "eos_token_id": SPECIAL_TOKENS.index(EOS),
        "pad_token_id": SPECIAL_TOKENS.index(PAD),
        "dtype": "bfloat16",
    }


def generation_config() -> dict[str, Any]:
    """A turn ends with `<|end|>`, a document with `<|eos|>`: sampling stops at either."""
    return {
        "bos_token_id": SPECIAL_TOKENS.index(BOS),
        "eos_token_id": [SPECIAL_TOKENS.index(END), SPECIAL_TOKENS.index(EOS)],
        "pad_token_id": SPECIAL_TOKENS.index(PAD),
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.95,
    }


def num_parameters(config: dict[str, Any]) -> int:
    """Embedding + layers · (attention + MLP + two norms) + the last norm; the head is the embedding."""
    hidden, heads, pairs, width = (config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    attention = 2 * hidden * heads * width + 2 * hidden * pairs * width
    mlp = 3 * hidden * config["intermediate_size"]
    return int(config["vocab_size"] * hidden + config["num_hidden_layers"] * (attention + mlp + 2 * hidden) + hidden)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=STARTER)
    options = parser.parse_args()
    files = {"config": model_config(), "generation_config": generation_config(), "tokenizer_config": tokenizer_config(CONTEXT)}
    for name, content in files.items():
        (options.out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
