"""`Spelling`: the bytes that a token stands for, which log-probabilities are told with; a token may be a part of a character."""

import json
import re
from functools import cache

from luthier.spec.serving import Token
from luthier.text.tokenizer import Tokenizer

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte in vocabularies that fall back to bytes."""


class Spelling:
    """Of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = {id: text.encode() for text, id in tokenizer.added.items()}
        decoder = json.loads(tokenizer.to_json()).get("decoder")
        self._letters = letters() if '"ByteLevel"' in json.dumps(decoder) else None

    def bytes_of(self, id: int) -> bytes:
        """Empty for an id that the vocabulary does not have: models may have more logits than there are tokens."""
        if id in self._added:
            return self._added[id]
        name = self._tokenizer.token_of(id) or ""
        if self._letters is not None:
            return b"".join(bytes([self._letters[char]]) if char in self._letters else char.encode() for char in name)
        if byte := BYTE.fullmatch(name):
            return bytes([int(byte[1], 16)])
        return name.replace("▁", " ").encode()

    def token(self, id: int, logprob: float | None, top: tuple[tuple[int, float], ...] = (), text: str | None = None) -> Token:
        """`text`: what it adds where it stands; otherwise what it says by itself."""
        spelled = self.bytes_of(id)
        said = spelled.decode("utf-8", "replace") if text is None else text
        return Token(id, said, spelled, logprob, tuple(self.token(other, value) for other, value in top))


@cache
def letters() -> dict[str, int]:
    """The byte that each printable letter of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 stand for themselves; the others have the letters from U+0100 on, in order (GPT-2's `bytes_to_unicode`).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(rest)}
