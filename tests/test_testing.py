"""The public test kit: what it makes is what Hugging Face's own loaders read."""

from pathlib import Path

import pytest

from luthier.testing import END, SPECIAL_TOKENS, build_model, byte_tokenizer, toy_conversations, toy_model


def test_a_byte_is_a_token_and_nothing_is_lost():
    text = "ünï \x00\n<|end| 🎻\u2028"
    tokenizer = byte_tokenizer()
    assert tokenizer.encode(text).ids == list(text.encode("utf-8"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_special_tokens_follow_the_bytes():
    tokenizer = byte_tokenizer()
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(256, 256 + len(SPECIAL_TOKENS)))


def test_transformers_loads_the_folder_and_marks_what_the_assistant_wrote(toy_folder: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy_folder)
    row = toy_conversations(1)[0]["messages"]
    rendered = tokenizer.apply_chat_template(row, return_dict=True, return_assistant_tokens_mask=True)
    written = [i for i, mask in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(written) == "0 1 2" + END
    assert AutoModelForCausalLM.from_pretrained(toy_folder).config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_the_same_seed_is_the_same_model(family: str):
    first, again, other = (build_model(family, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_settings_change_the_shape(tmp_path: Path):
    from transformers import AutoConfig

    folder = toy_model(tmp_path / "wide", num_hidden_layers=3, tie_word_embeddings=True)
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_hidden_layers, config.tie_word_embeddings) == (3, True)
