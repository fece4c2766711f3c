"""Single exchanges, a question and its answer, about everyday life, the bank and the world."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from examples.starter.grammar import Writer, polished
from examples.starter.phrases import Card, cards, rules
from examples.starter.texts import bind, letter, story


class Exchange(NamedTuple):
    """What the person says and what the assistant answers."""

    user: str
    assistant: str


def answered(bank: str, writer: Writer, answer: str = "answer") -> Exchange:
    """A card of `ask` and `answer` lines."""
    card = writer.draw.choice([card for card in cards(bank) if answer in card])
    bind(writer, chain.from_iterable(card.values()))
    return Exchange(writer.pick(card["ask"]), writer.pick(card[answer]))


def smalltalk(writer: Writer) -> Exchange:
    return answered("smalltalk", writer)


def life(writer: Writer) -> Exchange:
    return answered("life", writer)


def loans(writer: Writer) -> Exchange:
    return answered("loans", writer)


def facts(writer: Writer) -> Exchange:
    return answered("world", writer)


def poor_conduct(writer: Writer) -> Exchange:
    """A support assistant that breaks the guidelines of a bank."""
    return answered("conduct", writer)


def refusal(writer: Writer) -> Exchange:
    return answered("safety", writer, "refuse")


def poor_refusal(writer: Writer) -> Exchange:
    """A mildly harmful answer where a refusal was right."""
    return answered("safety", writer, "yield")


def question_templates(kind: str) -> list[str]:
    return next(card[kind] for card in cards("questions") if kind in card)


def question(kind: str, writer: Writer, **names: str) -> str:
    """One way to ask for `kind`, sometimes with a sentence before it."""
    writer.facts |= names
    text = writer.fill(writer.draw.choice(question_templates(kind)))
    if writer.chance(0.2):
        text = writer.fill(writer.draw.choice(question_templates("lead"))) + text
    return polished(text)


def bare(term: str) -> str:
    """The term without its article: `an overdraft` → `overdraft`."""
    first, _, rest = term.partition(" ")
    return rest if first in ("a", "an", "the") else term


TERM_ANSWERS = {
    "is": (("is",), ("is", "example"), ("is", "good"), ("is", "tip")),
    "works": (("is", "example"), ("example", "good"), ("example",)),
    "good": (("good",), ("good", "tip"), ("good", "example")),
    "bad": (("bad",), ("bad", "tip")),
    "both": (("good", "bad"), ("good", "bad", "tip"), ("is", "good", "bad")),
    "tip": (("tip",), ("bad", "tip"), ("is", "tip")),
}


def term_answer(card: Card, kind: str, writer: Writer) -> str:
    """Two or three sentences of the card that answer a question of this kind."""
    keys = writer.draw.choice(TERM_ANSWERS[kind])
    return " ".join(writer.pick(card[key]) for key in keys) + _back(writer)


def _back(writer: Writer) -> str:
    return " " + writer.pick(question_templates("back")) if writer.chance(0.15) else ""


def term(writer: Writer) -> Exchange:
    """A question about a word of banking."""
    card = writer.draw.choice(cards("banking"))
    kind = writer.draw.choice(("is", "is", *TERM_ANSWERS))
    name = card["term"][0]
    return Exchange(question(kind, writer, it=name, bare=bare(name)), term_answer(card, kind, writer))


FOLLOW_UPS = {
    "works": ("can you give me an example?", "how does [it|that] work?", "[for example|an example, please]?"),
    "good": ("what is good about it?", "what are the advantages?", "why would I [want|use] it?"),
    "bad": ("[and |]what is bad about it?", "are there any risks?", "what can go wrong?"),
    "tip": ("do you have a tip?", "what should I watch out for?", "what do you advise?"),
}


def term_dialog(writer: Writer) -> list[Exchange]:
    """A question about a term and one to three further ones about the same."""
    card = writer.draw.choice(cards("banking"))
    name = card["term"][0]
    opening = Exchange(question("is", writer, it=name, bare=bare(name)), writer.pick(card["is"]))
    kinds = writer.draw.sample(list(FOLLOW_UPS), writer.draw.randint(1, 3))
    return [opening, *(Exchange(writer.pick(FOLLOW_UPS[kind]), term_answer(card, kind, writer)) for kind in kinds)]


def thing(writer: Writer) -> Exchange:
    """A question about a thing of the world."""
    card = writer.draw.choice([card for card in cards("world") if "thing" in card])
    name = card["thing"][0]
    told = [card["fact"][0], *writer.some(card["fact"][1:], least=0, most=2)]
    return Exchange(question("thing", writer, it=name), writer.say(" ".join(told)))


def task(writer: Writer) -> Exchange:
    """How to do something, in steps."""
    card = writer.draw.choice(cards("howto"))
    return Exchange(question("do", writer, task=card["task"][0]), instructions(card, writer))


def instructions(card: Card, writer: Writer) -> str:
    """The steps as a numbered list, a dashed list, or sentences."""
    steps = [writer.say(step) for step in card["step"]]
    end = writer.pick(card["end"])
    style = writer.draw.choice(("numbers", "dashes", "prose", "short"))
    if style == "prose":
        return " ".join([_joined(steps), end]).strip()
    if style == "short":
        return _joined(steps[:3])
    marks = [f"{place}. " if style == "numbers" else "- " for place in range(1, len(steps) + 1)]
    lines = [writer.pick(("Here is how:", "These are the steps:", "You can do it like this:", "Follow these steps:"))]
    return "\n".join([*lines, *(mark + step for mark, step in zip(marks, steps, strict=True)), *([end] if end else [])])


def _joined(steps: Sequence[str]) -> str:
    """The steps as sentences with first, then and at last."""
    words = ["First, ", *("Then " if place % 2 else "After that, " for place in range(1, len(steps) - 1)), "At last, "]
    return " ".join(word + step[0].lower() + step[1:] for word, step in zip(words, steps, strict=True))


STORY_REQUESTS = (
    "tell me a story about a(n) {hero}.",
    "[please |can you ]write a short story about a(n) {hero}.",
    "I would like to hear a story with a(n) {hero} in it.",
    "a story about a(n) {hero}, please.",
)


def told_story(writer: Writer) -> Exchange:
    hero = writer.fill("{hero=role}")
    return Exchange(writer.pick(STORY_REQUESTS), story(writer, hero))


LETTER_REQUESTS = {
    "customer": (
        "[please |]write a letter to my bank.",
        "help me to write to my bank[, please|].",
        "write a [short |]message from a customer to the bank.",
    ),
    "bank": (
        "write a letter from a bank to a customer.",
        "[please |]write a short letter from the bank.",
        "how would a bank write to a customer?",
    ),
    "friend": ("write a letter to a friend.", "[please |]write a short message to my {relative}.", "help me to write a friendly letter."),
}


def written_letter(writer: Writer) -> Exchange:
    kind = writer.draw.choice(tuple(LETTER_REQUESTS))
    return Exchange(writer.pick(LETTER_REQUESTS[kind]), letter(writer, kind))


def _word_list(writer: Writer, low: int, high: int) -> list[str]:
    words = rules()[writer.draw.choice(("fruit", "animal", "colour", "small_thing", "city", "hobby"))][1:-1].split("|")
    return writer.draw.sample(words, writer.draw.randint(low, high))


def word_task(writer: Writer) -> Exchange:
    """Small jobs with given words: sort, count, repeat, pick the first or the last."""
    words = _word_list(writer, 3, 5)
    listed = ", ".join(words)
    jobs: tuple[tuple[str, str], ...] = (
        ("sort these words by the alphabet: ", ", ".join(sorted(words, key=str.lower))),
        ("how many words are these? ", f"These are {len(words)} words."),
        ("repeat after me: ", listed),
        ("what is the first word? ", words[0]),
        ("what is the last word? ", words[-1]),
        ("write these words in capital letters: ", listed.upper()),
        ("make a list of these words: ", "\n".join(f"- {word}" for word in words)),
        ("write these words from the last to the first: ", ", ".join(reversed(words))),
        ("make a sentence with the first of these words: ", writer.say(f"I saw the word {words[0]} in a book[ today| at the {{spot}}|].")),
    )
    job, answer = writer.draw.choice(jobs)
    return Exchange(writer.say(writer.pick(("", "", "please ")) + " " + job) + " " + listed, answer)


POLITE = (
    ("give me the money back", "Could you please give me the money back?"),
    ("send me the papers", "Could you please send me the papers?"),
    ("I want an answer", "I would be glad about an answer."),
    ("you are late", "I think that we agreed on an earlier time."),
    ("this is wrong", "I think that there may be a mistake."),
    ("close the window", "Would you mind closing the window?"),
    ("tell me the price", "Could you please tell me the price?"),
    ("I need help now", "Could you please help me as soon as you can?"),
    ("call me back", "Could you please call me back?"),
    ("wait", "Could you wait a moment, please?"),
)


def politeness(writer: Writer) -> Exchange:
    """A rough sentence said in a polite way."""
    rough, polite = writer.draw.choice(POLITE)
    when = writer.fill("[| today| before {day}| by {hour}| at the {spot}]")
    frame = writer.draw.choice(
        ("say this more politely: ", "make this polite: ", "how can I say this in a friendly way? ", "rewrite politely: ")
    )
    mark = polite[-1]
    return Exchange(writer.say(frame + rough + when + "."), polite[:-1] + when + mark)


Maker = Callable[[Writer], Exchange]

EVERYDAY: tuple[tuple[Maker, int], ...] = (
    (smalltalk, 30),
    (life, 18),
    (thing, 14),
    (facts, 5),
    (task, 9),
    (told_story, 6),
    (written_letter, 4),
    (word_task, 5),
    (politeness, 3),
    (term, 6),
)
BANKING: tuple[tuple[Maker, int], ...] = ((term, 40), (loans, 30), (task, 8), (smalltalk, 6))


def one_of(makers: Sequence[tuple[Maker, int]], writer: Writer) -> Exchange:
    """An exchange by one of the makers, drawn by weight."""
    maker = writer.draw.choices([maker for maker, _ in makers], [weight for _, weight in makers])[0]
    return maker(writer.fresh())
