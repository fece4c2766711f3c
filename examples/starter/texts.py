"""Texts that both documents and answers hold: stories, letters, notes."""

import re
from collections.abc import Iterable
from itertools import chain

from examples.starter.grammar import Writer
from examples.starter.phrases import cards

PLOT = ("a", "b", "c", "d", "e")
BINDING = re.compile(r"\{\w+=[^}]+\}")


def story(writer: Writer, hero: str | None = None) -> str:
    """A short tale: an opening, a plot of five steps with a few asides, an ending."""
    if hero:
        writer.facts["hero"] = hero
    frame, *plots = cards("stories")
    plot = writer.draw.choice(plots)
    writer.fill("{home=place}")
    sentences = [writer.pick(frame["open"])]
    bind(writer, [template for key in PLOT for template in plot[key]])
    for key in PLOT:
        sentences.append(writer.pick(plot[key]))
        if writer.chance(0.2):
            sentences.append(writer.pick(frame["filler"]))
    return " ".join([*sentences, writer.pick(frame["end"])])


def bind(writer: Writer, templates: Iterable[str]) -> None:
    """Draws every value that one of the templates binds: any of them may be told, and all may use it."""
    for template in templates:
        for slot in BINDING.findall(template):
            writer.fill(slot)


def letter(writer: Writer, kind: str | None = None) -> str:
    """A letter from a customer, a bank or a friend."""
    choices = [card for card in cards("letters") if kind in (None, card["kind"][0])]
    card = writer.draw.choice(choices)
    body = [writer.pick(card["reason"]), *writer.some(card["detail"], 1, 2), writer.pick(card["request"])]
    head = [f"Subject: {writer.pick(card['subject'])}"] if writer.chance(0.6) else []
    return "\n".join([*head, writer.pick(card["greet"]), " ".join(body), writer.pick(card["close"])])


def note(writer: Writer) -> str:
    """A diary page, a piece of news, an advertisement, a budget."""
    card = writer.draw.choice(cards("notes"))
    bind(writer, chain.from_iterable(card.values()))
    lines = [writer.pick(card[key]) for key in card if key != "title"]
    title = [writer.pick(card["title"])] if writer.chance(0.7) else []
    return "\n".join([*title, " ".join(lines)])
