"""`Tokenizer`: text ↔ token ids, over the `tokenizers` library. Never adds a token by itself; the chat template and `document` do."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from luthier.errors import ModelError

NAMED = ("bos", "eos", "pad", "unk")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of one string and the characters each comes from: `string[starts[t]:ends[t]]`.

    All (n,) int64. Neighbours may share a character (its bytes are split) and a token may have none (a prefix space that was not there).
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """The tokenizer of one model folder.

    `bos, eos, pad, unk` are strings or None, `…_id` their ids. `eos_ids` are all ids at which the model's own settings stop.
    `adds_bos`: by this model's convention a raw text begins with BOS.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, named: dict[str, str], eos_ids: Iterable[int] = (), adds_bos: bool | None = None
    ) -> None:
        """`named`: which strings are `bos`, `eos`, `pad`, `unk`. A `bos` or `eos` that the vocabulary lacks raises `ModelError`."""
        named = {name: text for name, text in named.items() if name != "pad" or backend.token_to_id(text) is not None}
        for name in ("bos", "eos"):
            if name in named and backend.token_to_id(named[name]) is None:
                raise ModelError(
                    f"The tokenizer's settings name `{named[name]}` as {name}_token, but its vocabulary has no such token. "
                    f"Correct `{name}_token` in tokenizer_config.json, or take the tokenizer.json that belongs to this model."
                )
        writes_bos = backend.encode("").ids[:1] == [backend.token_to_id(named["bos"])] if "bos" in named else False
        self.adds_bos = writes_bos if adds_bos is None else adds_bos and "bos" in named
        backend.post_processor = None  # it would add BOS behind the template's back, and trims spaces off the offsets
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self.bos, self.eos, self.pad, self.unk = (named.get(name) for name in NAMED)
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (self.id_of(named[name]) if name in named else None for name in NAMED)
        self.eos_ids = frozenset(eos_ids) | (frozenset() if self.eos_id is None else {self.eos_id})
        self.added = {token.content: id for id, token in backend.get_added_tokens_decoder().items()}
        self.special_ids = frozenset(id for id, token in backend.get_added_tokens_decoder().items() if token.special)
        vocabulary = backend.get_vocab()
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self._has_all_bytes = _has_all_bytes(vocabulary, backend)
        # Such a model leaves characters out without a trace, and counts the positions of what follows wrongly: they go out beforehand.
        self._drops = isinstance(backend.model, models.BPE) and backend.model.unk_token is None and not self._has_all_bytes
        self._dropped: dict[str, bool] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads tokenizer.json, and beside it tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json.

        Raises `ModelError` where the folder has no tokenizer.json, or one that can't be read.
        """
        folder = Path(folder)
        config = _read_json(folder / "tokenizer_config.json")
        backend = _load_backend(folder, config)
        named = {name: text for name in NAMED if (text := _named(name, config, _read_json(folder / "special_tokens_map.json")))}
        eos_ids = {id for file in ("generation_config.json", "config.json") for id in _eos_ids(_read_json(folder / file))}
        eos_ids = {id for id in eos_ids if backend.id_to_token(id) is not None}
        if "eos" not in named and eos_ids:
            named["eos"] = str(backend.id_to_token(min(eos_ids)))
        try:
            return cls(backend, named, eos_ids, config.get("add_bos_token"))
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from None

    def id_of(self, token: str) -> int | None:
        """The id of one token by its name, e.g. `</s>`; None where there is none."""
        id: int | None = self._backend.token_to_id(token)
        return id

    def token_of(self, id: int) -> str | None:
        """The name of one token, as the vocabulary writes it; None where there is none."""
        token: str | None = self._backend.id_to_token(int(id))
        return token

    def tokens(self, text: str) -> Tokens:
        """Ids with the characters they come from. The strings of added tokens become these tokens: use it only on trusted text."""
        kept = None if not self._drops else np.array([at for at, char in enumerate(text) if not self._is_dropped(char)], dtype=np.int64)
        encoding = self._backend.encode(text if kept is None else "".join(text[at] for at in kept), add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int64)
        starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
        if kept is not None:
            positions = np.append(kept, len(text))
            starts, ends = positions[starts], np.where(ends > starts, positions[ends - 1] + 1, positions[starts])
        return Tokens(ids, starts, ends)

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64, no BOS or EOS added. The strings of added tokens become these tokens: use it only on trusted text."""
        return self.tokens(text).ids

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`. `skip_special` leaves out special tokens such as EOS."""
        text: str = self._backend.decode([int(id) for id in ids], skip_special_tokens=skip_special)
        return text

    def stream(self, skip_special: bool = True) -> "TextStream":
        """Decodes one token at a time, for answers shown while they are written."""
        return TextStream(self, skip_special)

    def lost_characters(self, text: str) -> Counter[str]:
        """The characters of `text` that no token carries, with how often: dropped, or turned into the unknown token.

        Empty for every tokenizer that falls back to bytes. White space that a tokenizer only implies does not count.
        """
        if self._has_all_bytes:
            return Counter()
        if self._drops:
            return Counter(char for char in text if self._is_dropped(char))
        tokens = self.tokens(text)
        kept = np.zeros(len(text), dtype=bool)
        unknown = np.zeros(len(text), dtype=bool)
        for id, start, end in zip(tokens.ids, tokens.starts, tokens.ends, strict=True):
            (unknown if id == self.unk_id else kept)[start:end] = True
        return Counter(text[i] for i in np.flatnonzero(~kept) if unknown[i] or not text[i].isspace())

    def lost_in(self, texts: Iterable[str]) -> Counter[str]:
        """`lost_characters` of several texts together, quickly: where each character is dropped by itself, each is looked up once."""
        lost: Counter[str] = Counter()
        for text in texts if not self._has_all_bytes else ():
            if not self._drops or self.lost_characters("".join(set(text))):
                lost.update(self.lost_characters(text))
        return lost

    def change_of(self, text: str) -> tuple[str, str] | None:
        """The first few characters in which `text` and what its tokens spell part, white space aside; None where they do not.

        Texts with added tokens in them are left alone: which of those are text depends on who wrote it.
        """
        if any(marker in text for marker in self.added):
            return None
        said, read = "".join(text.split()), "".join(self.decode(self.encode(text), skip_special=True).split())
        if said == read:
            return None
        start = next((at for at, (left, right) in enumerate(zip(said, read, strict=False)) if left != right), min(len(said), len(read)))
        return said[start : start + 12], read[start : start + 12]

    def _is_dropped(self, char: str) -> bool:
        if char not in self._dropped:
            ids = self._backend.encode(char, add_special_tokens=False).ids
            self._dropped[char] = not char.isspace() and not self.decode(ids).strip()
        return self._dropped[char]

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that decides ids: the tokenizer as used here and its named tokens."""
        parts = [self.to_json(), self.bos, self.eos, self.pad, self.unk, sorted(self.eos_ids), self.adds_bos]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """The tokenizer as used here, in the format of tokenizer.json, without a post-processor."""
        text: str = self._backend.to_str()
        return text


class TextStream:
    """Text as its tokens arrive. `"".join(pushes) + finish()` equals decoding all ids at once."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._ids: list[int] = []
        self._shown: list[int] = []  # the last ids already shown: decoding needs them for spaces between words

    def push(self, id: int) -> str:
        """The text that `id` completes; empty while a character's bytes are still to come."""
        self._ids.append(int(id))
        text = self._new_text()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        return self._show(text)

    def finish(self) -> str:
        """What is left when no token comes any more."""
        return self._show(self._new_text())

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._shown, self._skip_special)
        return self._tokenizer.decode(self._shown + self._ids, self._skip_special)[len(before) :]

    def _show(self, text: str) -> str:
        if text:
            self._shown, self._ids = self._ids, []
        return text


def _load_backend(folder: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    path = folder / "tokenizer.json"
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder, so there is no tokenizer to read. Give the folder of a model in Hugging Face format.")
    if not path.is_file():
        raise ModelError(_missing(folder))
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
        if backend.normalizer is not None:
            backend = tokenizers.Tokenizer.from_str(_read_literally(backend.to_str(), config))
    except Exception as error:  # `tokenizers` raises plain Exception for every malformed file
        raise ModelError(
            f"{path} can't be read as a tokenizer ({error}). It is cut short or damaged: download or copy it again."
        ) from error
    _add_missing(backend, config, folder)
    return backend


def _missing(folder: Path) -> str:
    for name in ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"):
        if (folder / name).is_file():
            return (
                f"{folder} has a {name} but no tokenizer.json, the only form that Luthier reads. Convert it once with transformers: "
                f"python -c \"import transformers as t; t.AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')\""
            )
    return f"{folder} has no tokenizer.json. Copy this model's tokenizer.json and tokenizer_config.json into the folder."


def _read_literally(tokenizer_json: str, config: dict[str, Any]) -> str:
    """Mends two faults of converted sentencepiece files, by which a template's `</s>` in mid-text would fall into pieces.

    `legacy: false` says that a space is put before the text, not after each special token, as transformers reads it too. And special
    tokens are matched as they stand, not after a normalizer that puts `▁` before them.
    """
    settings = json.loads(tokenizer_json)
    parts = settings["normalizer"].get("normalizers", [settings["normalizer"]])
    prepends = any(part["type"] == "Prepend" and part["prepend"] == "▁" for part in parts)
    only_spaces = all(part["type"] in ("Prepend", "Replace") for part in parts)
    if config.get("legacy") is False and prepends and only_spaces and settings["pre_tokenizer"] is None:
        settings["normalizer"] = None
        settings["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    for token in settings["added_tokens"]:
        token["normalized"] = token["normalized"] and not token["special"]
    return json.dumps(settings, ensure_ascii=False)


def _add_missing(backend: tokenizers.Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """Tokens that only tokenizer_config.json lists. Raises `ModelError` where one would get another id than listed."""
    known = backend.get_added_tokens_decoder()
    listed = {int(id): token for id, token in config.get("added_tokens_decoder", {}).items()}
    for id, token in sorted(listed.items()):
        if id in known:
            continue
        flags = {key: bool(token.get(key)) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        backend.add_tokens([AddedToken(token["content"], **flags)])
        if backend.token_to_id(token["content"]) != id:
            raise ModelError(
                f"{folder}: tokenizer_config.json lists `{token['content']}` as token {id}, which does not fit tokenizer.json. "
                "The two files belong to different models: copy both from one."
            )


def _named(name: str, config: dict[str, Any], special_map: dict[str, Any]) -> str | None:
    token = config.get(f"{name}_token") or special_map.get(f"{name}_token")
    return token.get("content") if isinstance(token, dict) else token


def _eos_ids(config: dict[str, Any]) -> list[int]:
    ids = config.get("eos_token_id")
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where the file is missing: each of them is optional."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error}). Download or copy it again.") from error
    return content if isinstance(content, dict) else {}


def _has_all_bytes(vocabulary: dict[str, int], backend: tokenizers.Tokenizer) -> bool:
    if all(f"<0x{byte:02X}>" in vocabulary for byte in range(256)):
        return True
    byte_level = "ByteLevel" in f"{backend.pre_tokenizer} {backend.normalizer}"
    return byte_level and all(char in vocabulary for char in pre_tokenizers.ByteLevel.alphabet())
