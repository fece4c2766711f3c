"""Phrases with choices and slots, spoken with a seeded random generator.

A template is text with two kinds of brackets:

- `[red|green|]`: one of the alternatives, which may be empty and may hold brackets themselves.
- `{city}`: the value bound to that name, or else a phrase of the rule with that name.
  `{hero=role}` draws from the rule `role` and binds the phrase to `hero` for the rest of the text.
  `{n:2-9}` is a whole number, `{sum:100-900}` an amount of money; `{price=sum:5-20}` binds either.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random

CURRENCIES = ("$", "$", "$", "€", "£")
PRONOUNS = ({"she": "she", "her": "her", "him": "her"}, {"she": "he", "her": "his", "him": "him"})


@dataclass(frozen=True)
class Choice:
    """One of several phrases, all equally likely."""

    options: tuple["Phrase", ...]


@dataclass(frozen=True)
class Slot:
    """A value to fill in: bound to `name` after it was drawn from `rule`."""

    name: str
    rule: str
    binds: bool


Phrase = tuple[str | Choice | Slot, ...]


@cache
def parsed(template: str) -> Phrase:
    """The template as a tree.

    Raises:
        ValueError: a bracket without its partner, or a `|` outside brackets.
    """
    phrase, end = _phrase(template, 0)
    if end != len(template):
        raise ValueError(f"Unexpected {template[end]!r} at {end} in {template!r}.")
    return phrase


def _phrase(template: str, start: int) -> tuple[Phrase, int]:
    parts: list[str | Choice | Slot] = []
    at = start
    while at < len(template) and template[at] not in "|]":
        if template[at] == "[":
            choice, at = _choice(template, at)
            parts.append(choice)
        elif template[at] == "{":
            close = template.index("}", at)
            parts.append(_slot(template[at + 1 : close]))
            at = close + 1
        else:
            text = re.compile(r"[^\[\]{|]+").match(template, at)
            assert text is not None
            parts.append(text.group())
            at = text.end()
    return tuple(parts), at


def _choice(template: str, at: int) -> tuple[Choice, int]:
    options: list[Phrase] = []
    while True:
        option, at = _phrase(template, at + 1)
        options.append(option)
        if at == len(template):
            raise ValueError(f"A `[` is never closed in {template!r}.")
        if template[at] == "]":
            return Choice(tuple(options)), at + 1


def _slot(inside: str) -> Slot:
    name, equals, rule = inside.partition("=")
    return Slot(name, rule or name, bool(equals))


@dataclass
class Writer:
    """Speaks templates for one text. What a slot binds stays bound for this writer."""

    rules: Mapping[str, str]
    draw: Random
    facts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts = {"currency": self.draw.choice(CURRENCIES)} | self.draw.choice(PRONOUNS) | self.facts

    def fresh(self) -> "Writer":
        """A writer with the same random generator that has bound nothing yet."""
        return Writer(self.rules, self.draw)

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def pick(self, templates: Sequence[str]) -> str:
        """One of the templates, spoken."""
        return self.say(self.draw.choice(templates))

    def some(self, templates: Sequence[str], least: int = 1, most: int | None = None) -> list[str]:
        """Several different templates in random order, each spoken."""
        most = min(len(templates), most or len(templates))
        return [self.say(template) for template in self.draw.sample(list(templates), self.draw.randint(min(least, most), most))]

    def say(self, template: str) -> str:
        """The template with all choices made, as clean sentences."""
        return polished(self.fill(template))

    def fill(self, template: str) -> str:
        """The template with all choices made, exactly as it stands."""
        return "".join(self._part(part) for part in parsed(template))

    def _part(self, part: str | Choice | Slot) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Choice):
            return "".join(self._part(inner) for inner in self.draw.choice(part.options))
        return self._value(part)

    def _value(self, slot: Slot) -> str:
        if slot.name in self.facts:
            return self.facts[slot.name]
        value = self._drawn(slot.rule)
        if slot.binds:
            self.facts[slot.name] = value
        return value

    def _drawn(self, rule: str) -> str:
        kind, colon, limits = rule.partition(":")
        if not colon:
            return self.fill(self.rules[rule])
        low, high = map(int, limits.split("-"))
        if kind == "n":
            return str(self.draw.randint(low, high))
        return self.money(low, high)

    def money(self, low: int, high: int) -> str:
        """A round amount between the limits, in the currency of this text: `$1,200`."""
        step = 1 if high <= 60 else 5 if high <= 600 else 50 if high <= 6000 else 500
        return self.priced(self.draw.randint(-(-low // step), high // step) * step)

    def priced(self, amount: float) -> str:
        """The amount in the currency of this text, with cents where there are any."""
        digits = f"{amount:,.2f}".removesuffix(".00")
        return f"{self.facts['currency']}{digits}"


def polished(text: str) -> str:
    """Single spaces, `a` or `an` for `a(n)`, and a capital at the start of every sentence."""
    text = re.sub(r" +", " ", text).strip(" ")
    text = re.sub(r"\b([Aa])\(n\) (?=(\w*))", _article, text)
    text = re.sub(r" ([.,!?;:])(?=\s|$)", r"\1", text)
    return re.sub(r"(^|[.!?] |\n)([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)


def _article(match: re.Match[str]) -> str:
    return match.group(1) + ("n " if vowel_sound(match.group(2)) else " ")


def vowel_sound(word: str) -> bool:
    """Whether `an` stands before the word."""
    word = word.lower()
    return word.startswith(("a", "e", "i", "o", "u", "honest", "hour")) and not word.startswith(("use", "uni"))


def casual(text: str, draw: Random) -> str:
    """As people type in a hurry: no capitals, or no mark at the end, or neither."""
    if draw.random() < 0.5:
        text = text.lower()
    return text.rstrip(".!?") if draw.random() < 0.7 else text
