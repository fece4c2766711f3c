"""The phrase banks: text files of cards, each card a block of `key: template` lines."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "phrases"

Card = dict[str, list[str]]


@cache
def cards(bank: str) -> tuple[Card, ...]:
    """The cards of `phrases/<bank>.txt`. A key on several lines of a card collects them. `#` begins a comment, `\\n` is a new line."""
    blocks = (FOLDER / f"{bank}.txt").read_text(encoding="utf-8").split("\n\n")
    return tuple(card for block in blocks if (card := _card(block)))


def _card(block: str) -> Card:
    card: Card = {}
    for line in block.splitlines():
        if line and not line.startswith("#"):
            key, _, template = line.partition(": ")
            card.setdefault(key, []).append(template.replace(r"\n", "\n"))
    return card


@cache
def rules() -> dict[str, str]:
    """The words that any template may use, each as one choice between its phrases."""
    (words,) = cards("words")
    return {name: f"[{'|'.join(lines)}]" for name, lines in words.items()}
