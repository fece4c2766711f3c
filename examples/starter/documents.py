"""Rows of raw text: stories, letters, explanations, how-tos, lists of questions, notes."""

from collections.abc import Callable

from examples.starter.exchanges import BANKING, EVERYDAY, bare, instructions, one_of
from examples.starter.grammar import Writer, polished
from examples.starter.phrases import cards
from examples.starter.texts import letter, note, story
from examples.starter.vocabulary import day


def tale(writer: Writer) -> str:
    return story(writer)


def post(writer: Writer) -> str:
    return letter(writer)


def explanation(writer: Writer) -> str:
    """What the dictionary of a bank says about a term."""
    card = writer.draw.choice(cards("banking"))
    name = bare(card["term"][0])
    title = writer.pick((f"{name}", f"About: {name}", f"What you should know about {name}", f"{name} in simple words"))
    keys = ["is", *writer.draw.sample(["example", "good", "bad", "tip"], writer.draw.randint(2, 4))]
    sentences = [_introduced(key, writer.pick(card[key]), writer) for key in keys]
    return "\n".join([title, " ".join(sentences)])


INTRODUCTIONS = {
    "example": ("An example: ", "For example: ", "Let us look at an example. ", ""),
    "good": ("The good side: ", "The advantage: ", "", "Why people like it: "),
    "bad": ("The other side: ", "The risk: ", "", "But be careful. "),
    "tip": ("Our advice: ", "A tip: ", "", "To remember: "),
}


def _introduced(key: str, sentence: str, writer: Writer) -> str:
    return writer.draw.choice(INTRODUCTIONS.get(key, ("",))) + sentence


def article(writer: Writer) -> str:
    """What a book for children says about two or three things."""
    chosen = writer.draw.sample([card for card in cards("world") if "thing" in card], writer.draw.randint(2, 3))
    parts = [" ".join([card["fact"][0], *writer.some(card["fact"][1:], least=1)]) for card in chosen]
    return "\n\n".join(f"{polished(bare(card['thing'][0]))}\n{part}" for card, part in zip(chosen, parts, strict=True))


def guide(writer: Writer) -> str:
    """How to do something, with a title."""
    card = writer.draw.choice(cards("howto"))
    do = card["task"][0].replace(" my ", " your ")
    title = writer.pick((f"How to {do}", f"{do}: a short guide", f"{do}, step by step", f"So you want to {do}"))
    parts = [title, *([writer.pick(card["why"])] if "why" in card else []), instructions(card, writer)]
    return "\n".join(part for part in parts if part)


def questions(writer: Writer) -> str:
    """Frequent questions of customers with answers."""
    labels = writer.draw.choice((("Q: ", "A: "), ("Question: ", "Answer: "), ("", ""), ("- ", "")))
    pairs = [one_of(BANKING[:2], writer) for _ in range(writer.draw.randint(2, 5))]
    title = writer.pick(("Frequent questions", "Questions and answers", "Our customers ask", "Good to know"))
    return "\n".join([title, *(f"{labels[0]}{pair.user}\n{labels[1]}{pair.assistant}" for pair in pairs)])


def talk(writer: Writer) -> str:
    """Two people who talk, written as a scene."""
    first, second = writer.say("{one=role}"), writer.say("{two=role}")
    pairs = [one_of(EVERYDAY[:3], writer) for _ in range(writer.draw.randint(1, 3))]
    scene = writer.pick(
        ("At the {spot}, on a {weather} {day}.", "A(n) {one} and a(n) {two} meet at the {spot}.", "It is {hour} in the evening.")
    )
    return "\n".join([scene, *(f"{first}: {pair.user}\n{second}: {pair.assistant}" for pair in pairs)])


KINDS: tuple[tuple[Callable[[Writer], str], int], ...] = (
    (tale, 34),
    (day, 24),
    (note, 22),
    (post, 16),
    (explanation, 8),
    (guide, 6),
    (article, 6),
    (questions, 4),
    (talk, 4),
)


def document(writer: Writer) -> str:
    """One text of some kind, drawn by weight."""
    kind = writer.draw.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    return kind(writer)
