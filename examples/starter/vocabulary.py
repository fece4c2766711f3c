"""Exchanges and texts about plain words: what a thing is, opposites, past forms, sentences. They widen the vocabulary of the model."""

from functools import cache

from examples.starter.exchanges import Exchange
from examples.starter.grammar import Writer, polished, vowel_sound
from examples.starter.phrases import Card, cards


@cache
def nouns() -> tuple[Card, ...]:
    """The cards of things, each with its words."""
    return tuple(card for card in cards("lexicon") if "words" in card)


@cache
def words_of(kind: str, key: str = "words") -> tuple[str, ...]:
    card = next(card for card in cards("lexicon") if card["kind"][0] == kind)
    return tuple(card[key][0].split("|"))


def pairs(kind: str, key: str, writer: Writer) -> tuple[str, str]:
    """Two words that belong together, such as opposites."""
    first, _, second = writer.draw.choice(words_of(kind, key)).partition("/")
    return first, second


def with_words(writer: Writer) -> Writer:
    """The writer, knowing every kind of the lexicon as a slot: `{tool}`."""
    known = {card["kind"][0]: f"[{card['words'][0]}]" for card in nouns()}
    writer.rules = {**known, **writer.rules, "animal": known["animal"], "place": known["place"]}
    return writer


def a(word: str) -> str:
    return ("an " if vowel_sound(word) else "a ") + word


def membership(writer: Writer) -> Exchange:
    """Is a violin an instrument?"""
    card, other = writer.draw.sample(nouns(), 2)
    word = writer.draw.choice(words_of(card["kind"][0]))
    if writer.chance(0.5):
        return Exchange(
            f"Is {a(word)} {card['is'][0]}?", writer.pick((f"Yes, {a(word)} is {card['is'][0]}.", "Yes, it is.", f"Yes. {card['used'][0]}"))
        )
    if word in words_of(other["kind"][0]):
        return Exchange(f"What is {a(word)}?", f"{polished(a(word))} is {card['is'][0]}.")
    asked = f"Is {a(word)} {other['is'][0]}?"
    return Exchange(
        asked,
        writer.pick(
            (
                f"No, {a(word)} is {card['is'][0]}.",
                f"No, it is {card['is'][0]}.",
                f"No. {polished(a(word))} is {card['is'][0]}, not {other['is'][0]}.",
            )
        ),
    )


def meaning(writer: Writer) -> Exchange:
    card = writer.draw.choice(nouns())
    word = writer.draw.choice(words_of(card["kind"][0]))
    asked = writer.pick(
        (
            f"what is {a(word)}?",
            f"what does {word} mean?",
            f"what is {a(word)} for?",
            f"explain the word {word}.",
            f"do you know what {a(word)} is?",
        )
    )
    return Exchange(
        asked,
        writer.pick(
            (
                f"{a(word)} is {card['is'][0]}. {card['used'][0]}",
                f"{a(word)} is {card['is'][0]}.",
                f"it is {card['is'][0]}. {card['used'][0]}",
            )
        ),
    )


def naming(writer: Writer) -> Exchange:
    """Name three birds."""
    card = writer.draw.choice(nouns())
    count = writer.draw.randint(2, 5)
    chosen = writer.draw.sample(words_of(card["kind"][0]), count)
    number = ("two", "three", "four", "five")[count - 2]
    kind = card["is"][0].partition(" ")[2]
    asked = writer.pick(
        (
            f"name {number} examples for {card['is'][0]}.",
            f"tell me {number} words for {card['is'][0]}.",
            f"give me {number} examples: {kind}.",
            f"can you name {number} things of this kind: {kind}?",
        )
    )
    listed = ", ".join(chosen[:-1]) + f" and {chosen[-1]}"
    return Exchange(asked, writer.pick((f"{listed}.", f"here are {number}: {listed}.", "\n".join(f"- {word}" for word in chosen))))


def odd_one(writer: Writer) -> Exchange:
    """Which word does not belong to the others?"""
    card, other = writer.draw.sample(nouns(), 2)
    same, odd = writer.draw.sample(words_of(card["kind"][0]), 3), writer.draw.choice(words_of(other["kind"][0]))
    listed = [*same, odd]
    writer.draw.shuffle(listed)
    asked = (
        writer.pick(("which word does not fit: ", "which one is different: ", "find the word that does not belong: "))
        + " "
        + ", ".join(listed)
        + "?"
    )
    return Exchange(
        asked,
        writer.pick((f"{odd}.", f"{odd}, because {a(odd)} is {other['is'][0]}.", f"{odd}. The others are of one kind: {card['is'][0]}.")),
    )


def opposite(writer: Writer) -> Exchange:
    first, second = pairs("opposites", "pairs", writer)
    asked = writer.pick(
        (
            f"what is the opposite of {first}?",
            f"opposite of {first}?",
            f'tell me the opposite of "{first}".',
            f"which word means the opposite of {first}?",
        )
    )
    return Exchange(asked, writer.pick((f"the opposite of {first} is {second}.", f"{second}.", f"it is {second}.")))


def past(writer: Writer) -> Exchange:
    now, before = pairs("verbs", "past", writer)
    asked = writer.pick((f'what is the past of "{now}"?', f"past form of {now}?", f"how do I say {now} in the past?"))
    return Exchange(asked, writer.pick((f"the past of {now} is {before}.", f"{before}. For example: Yesterday I {before}.", f"{before}.")))


def synonym(writer: Writer) -> Exchange:
    first, second = pairs("synonyms", "same", writer)
    asked = writer.pick(
        (f"what is another word for {first}?", f"which word means the same as {first}?", f"do you know a word like {first}?")
    )
    return Exchange(asked, writer.pick((f"another word for {first} is {second}.", f"{second}.", f"you can say {second}.")))


def action(writer: Writer) -> str:
    """What somebody did: `repaired the tram with a saw`."""
    return with_articles(writer.fill(writer.draw.choice(cards("actions")[0]["did"])))


def with_articles(text: str) -> str:
    """`a` before a vowel becomes `an`."""
    words = text.split(" ")
    fixed = ["an" if word == "a" and vowel_sound(after) else word for word, after in zip(words, [*words[1:], ""], strict=True)]
    return " ".join(fixed)


def usage(writer: Writer) -> Exchange:
    """A sentence about something somebody did."""
    writer = with_words(writer)
    hero = writer.fill("{role}")
    done = action(writer)
    asked = writer.pick((f"write a sentence about a(n) {hero}.", f"what did the {hero} do?", f"make a sentence with the word {hero}."))
    return Exchange(asked, polished(f"the {hero} {done}."))


def retelling(writer: Writer) -> Exchange:
    """A short text, and a question about who did what: the answer stands in the text."""
    writer = with_words(writer)
    first, second = writer.draw.sample(words_of("profession"), 2)
    done, also = action(writer), action(writer)
    told = polished(f"the {first} {done}. The {second} {also}.")
    if writer.chance(0.5):
        hero, deed = writer.draw.choice(((first, done), (second, also)))
        return Exchange(f"{told} Who {deed}?", f"The {hero}." if writer.chance(0.5) else f"The {hero} {deed}.")
    hero, deed = writer.draw.choice(((first, done), (second, also)))
    return Exchange(f"{told} What did the {hero} do?", f"The {hero} {deed}.")


def day(writer: Writer) -> str:
    """A text of four to nine sentences about what somebody did."""
    writer = with_words(writer)
    bank = cards("actions")[0]
    hero = writer.fill("{role}")
    sentences = [f"on {writer.fill('{day}')} the {hero} {action(writer)}."]
    for _ in range(writer.draw.randint(3, 7)):
        start = writer.fill(writer.draw.choice(bank["link"]))
        who = writer.draw.choice(
            (writer.facts["she"], writer.facts["she"], f"the {hero}", f"{writer.facts['her']} {writer.fill('{relative}')}")
        )
        why = " " + writer.fill(writer.draw.choice(bank["why"])) if writer.chance(0.35) else ""
        sentences.append(f"{start} {who} {action(writer)}{why}.")
        if writer.chance(0.25):
            sentences.append(writer.say(writer.draw.choice(bank["feel"])))
    return polished(with_articles(" ".join(sentences)))


WORDS = ((membership, 3), (meaning, 6), (naming, 3), (odd_one, 2), (opposite, 4), (past, 3), (synonym, 2), (usage, 4), (retelling, 5))


def about_words(writer: Writer) -> Exchange:
    """An exchange about words, with capitals at the start of sentences."""
    make = writer.draw.choices([make for make, _ in WORDS], [weight for _, weight in WORDS])[0]
    exchange = make(writer)
    return Exchange(polished(exchange.user), polished(exchange.assistant))
