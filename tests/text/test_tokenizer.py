"""The tokenizer: what it reads from a folder, that it adds nothing, and what it would lose."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from luthier.errors import ModelError
from luthier.text.tokenizer import Tokenizer

Tiny = Callable[..., Tokenizer]


def test_encode_adds_nothing_and_decode_gives_it_back(tiny: Tiny) -> None:
    tokenizer = tiny()
    for text in ("The bank opens", " two  spaces\n\n", "Grüße 🙂 “so”", ""):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int64 and tokenizer.bos_id not in ids and tokenizer.eos_id not in ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode("a</s>"), skip_special=True) == "a"


def test_a_post_processor_that_would_add_bos_is_only_read(tiny: Tiny) -> None:
    """It says that raw texts begin with BOS; the encoder must not, or a template that writes BOS gives two (fault 3)."""
    plain = tiny()
    backend = tokenizers.Tokenizer.from_str(plain.to_json())
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", plain.id_of("<s>"))])
    tokenizer = Tokenizer(backend, {"bos": "<s>", "eos": "</s>"})
    assert tokenizer.adds_bos and not plain.adds_bos
    assert tokenizer.encode("The").tolist() == plain.encode("The").tolist()


def test_offsets_keep_the_spaces_of_a_token(tiny: Tiny) -> None:
    """Each character lies in a token: the spans of the tokens of a text without split characters lie end to end."""
    tokens = tiny().tokens(" The  bank \n opens")
    assert tokens.starts[0] == 0 and tokens.ends[-1] == 18
    assert (tokens.starts[1:] == tokens.ends[:-1]).all()


def test_vocab_size_is_the_highest_id_plus_one(tiny: Tiny) -> None:
    tokenizer = tiny(added=("<think>",))
    assert tokenizer.vocab_size == tokenizer.added["<think>"] + 1
    assert tokenizer.special_ids == {tokenizer.added[text] for text in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")}


def test_fingerprint_follows_what_decides_ids(tiny: Tiny) -> None:
    assert tiny().fingerprint == tiny().fingerprint
    assert len({tiny().fingerprint, tiny(added=("<x>",)).fingerprint, tiny(eos_ids=(3,)).fingerprint}) == 3


@pytest.mark.parametrize("skip_special", [True, False])
def test_streamed_text_equals_decoded_text(tiny: Tiny, skip_special: bool) -> None:
    """Random ids cut characters of several bytes apart and are often no valid UTF-8; most of these even repair themselves later."""
    tokenizer = tiny()
    draw = random.Random(0)
    for text in ("Grüße 🙂 “so” 漢字</s> The bank", "The loan is cheap"):
        ids = tokenizer.encode(text).tolist()
        stream = tokenizer.stream(skip_special)
        pieces = [stream.push(id) for id in ids]
        assert "".join(pieces) + stream.finish() == tokenizer.decode(ids, skip_special)
        assert len([piece for piece in pieces if piece]) > 2
    for _ in range(50):
        ids = [draw.randrange(32, 96) for _ in range(20)]
        stream = tokenizer.stream(skip_special)
        assert "".join(stream.push(id) for id in ids) + stream.finish() == tokenizer.decode(ids, skip_special)


def test_byte_level_loses_nothing(tiny: Tiny) -> None:
    assert tiny().lost_characters("漢字 “quotes” 🙂") == Counter()


def test_lost_characters_are_named_and_counted() -> None:
    """A BPE without byte fallback: unknown characters vanish, or become `<unk>` where there is one."""
    vocabulary = {"<unk>": 0, "a": 1, "b": 2, " ": 3, "ab": 4}
    for unknown in (None, "<unk>"):
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token=unknown, fuse_unk=True))
        tokenizer = Tokenizer(backend, {"unk": "<unk>"})
        assert tokenizer.lost_characters("ab “ab” ““a") == Counter({"“": 3, "”": 1})
        assert tokenizer.lost_characters("ab a b") == Counter()


def test_positions_are_right_behind_characters_that_vanish() -> None:
    """`tokenizers` itself says (2, 4) for the last `ab` here."""
    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokens = Tokenizer(backend, {}).tokens("ab““ab”")
    assert (tokens.ids.tolist(), tokens.starts.tolist(), tokens.ends.tolist()) == ([2, 2], [0, 4], [2, 6])


def test_implied_white_space_is_not_lost() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    assert Tokenizer(backend, {"unk": "[UNK]"}).lost_characters("a a\na x") == Counter("x")


def _folder(tmp_path: Path, tokenizer: Tokenizer, **config: object) -> Path:
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def test_load_reads_named_tokens_and_all_end_tokens(tiny: Tiny, tmp_path: Path) -> None:
    made = tiny()
    folder = _folder(tmp_path, made, bos_token={"content": "<s>"}, pad_token="<|nowhere|>", add_bos_token=True)
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|im_end|>"}), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [made.id_of("</s>"), 10_000]}), encoding="utf-8")
    tokenizer = Tokenizer.load(folder)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == ("<s>", "<|im_end|>", None)
    assert tokenizer.eos_ids == {made.id_of("</s>"), made.id_of("<|im_end|>")}
    assert tokenizer.adds_bos


def test_end_token_comes_from_the_model_where_the_tokenizer_names_none(tiny: Tiny, tmp_path: Path) -> None:
    folder = _folder(tmp_path, tiny())
    (folder / "config.json").write_text(json.dumps({"eos_token_id": tiny().id_of("</s>")}), encoding="utf-8")
    assert Tokenizer.load(folder).eos == "</s>"


def test_tokens_listed_only_in_the_config_are_added(tiny: Tiny, tmp_path: Path) -> None:
    made = tiny()
    folder = _folder(tmp_path, made, added_tokens_decoder={str(made.vocab_size): {"content": "<|extra|>", "special": True}})
    assert Tokenizer.load(folder).id_of("<|extra|>") == made.vocab_size
    folder = _folder(tmp_path, made, added_tokens_decoder={"7000": {"content": "<|extra|>", "special": True}})
    with pytest.raises(ModelError, match="copy both from one"):
        Tokenizer.load(folder)


def test_what_is_missing_or_damaged_is_said_in_a_sentence(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\0")
    with pytest.raises(ModelError, match=r"has a tokenizer\.model but no tokenizer\.json.*save_pretrained"):
        Tokenizer.load(tmp_path)
    folder = _folder(tmp_path, tiny(), eos_token="<|nowhere|>")
    with pytest.raises(ModelError, match=r"name `<\|nowhere\|>` as eos_token"):
        Tokenizer.load(folder)
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="can't be read as JSON"):
        Tokenizer.load(folder)
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")
    with pytest.raises(ModelError, match="cut short or damaged"):
        Tokenizer.load(folder)


def test_real_vocabulary_drops_curly_quotes(shared: Path) -> None:
    """tinystories-656k: 2,048 tokens and no byte fallback (fault 17)."""
    lost = Tokenizer.load(shared / "models/tinystories-656k").lost_characters("Tim said, “Hi!” and “Bye”. Café.")
    assert lost == Counter({"“": 2, "”": 2, "é": 1})
    assert not Tokenizer.load(shared / "models/stories260k").lost_characters("“é漢”")


def test_real_sentencepiece_tokenizer_keeps_special_tokens_whole(shared: Path) -> None:
    """As the file stands, `<|end_story|>` in mid-text falls into four pieces (fault 18); `legacy: false` says otherwise."""
    tokenizer = Tokenizer.load(shared / "models/tinystories-656k")
    assert [tokenizer.token_of(id) for id in tokenizer.encode("Hi<|end_story|>x")] == ["▁", "Hi", "<|end_story|>", "x"]


def test_real_tokenizers_give_the_ids_of_transformers(shared: Path) -> None:
    auto = pytest.importorskip("transformers").AutoTokenizer
    text = (shared / "data/tinystories_sample/tinystories_sample.txt").read_text(encoding="utf-8")[:20_000]
    for name in ("stories260k", "tinystories-656k", "tinystories-instruct-3m-chat"):
        tokenizer = Tokenizer.load(shared / "models" / name)
        lost = tokenizer.lost_characters(text)
        known = "".join(char for char in text if char not in lost)
        theirs = auto.from_pretrained(shared / "models" / name)
        known += f"{tokenizer.eos}x {tokenizer.eos} y"
        assert tokenizer.encode(known).tolist() == theirs(known, add_special_tokens=False).input_ids, name


def test_a_copied_folder_has_the_same_fingerprint(shared: Path, tmp_path: Path) -> None:
    source = shared / "models/stories260k"
    shutil.copytree(source, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    assert Tokenizer.load(tmp_path / "copy").fingerprint == Tokenizer.load(source).fingerprint
