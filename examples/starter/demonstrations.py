"""Writes the loan-support demonstrations of `luthier demo`: `python -m examples.starter.demonstrations`.

The style to be learned: greet with the topic, say concretely what holds, give a next step or ask one question, offer more help.
Never promise an approval, never ask for a PIN. Training and validation are asked in different words, so that a good held-out
loss is more than memory.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from examples.starter.grammar import Writer, casual
from examples.starter.phrases import Card, cards, rules
from examples.starter.texts import bind

FOLDER = Path(__file__).parents[2] / "src/luthier/recipes/demo_data"
SIZES = {"train": 500, "validation": 60}
ASKED_BY = {"train": "ask", "validation": "held"}
SYSTEM_PROMPT = "You are the support assistant of a lender."
RATES = {"12": "4.9", "24": "5.4", "36": "5.9", "48": "6.4", "60": "6.9"}
LEADS = ("", "", "", "Hello. ", "Good morning. ", "Hi, a question: ", "I am a customer of yours. ", "Please help me. ")
GREETINGS = ("Hello, and thank you for asking about {topic}.", "Good day, and thank you for asking about {topic}.")
AGAIN = ("Gladly, about {topic}:", "Of course, about {topic}:")
OFFER = "Is there anything else I can help you with?"

Row = dict[str, Any]


def exchange(card: Card, key: str, greetings: tuple[str, ...], draw: Random) -> tuple[str, str]:
    """A question about the topic of the card, and the answer in the style of the lender."""
    writer = Writer(rules(), draw, {"currency": "$", "topic": card["topic"][0]})
    asked = writer.say(draw.choice(LEADS) + _bound_question(card, key, writer))
    parts = (draw.choice(greetings), draw.choice(card["fact"]), draw.choice(card["next"]), OFFER)
    return (casual(asked, draw) if draw.random() < 0.15 else asked), " ".join(writer.say(part) for part in parts)


def _bound_question(card: Card, key: str, writer: Writer) -> str:
    template = writer.draw.choice(card[key])
    bind(writer, (template,))
    if "months" in writer.facts:
        writer.facts["rate_of_months"] = RATES[writer.facts["months"]]
    return writer.fill(template)


def row(key: str, draw: Random) -> Row:
    """One conversation; one in ten has a second question on another topic."""
    first, second = draw.sample(cards("support"), 2)
    pairs = [exchange(first, key, GREETINGS, draw)]
    if draw.random() < 0.1:
        pairs.append(exchange(second, key, AGAIN, draw))
    system = [{"role": "system", "content": SYSTEM_PROMPT}] if draw.random() < 0.5 else []
    turns = ([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}] for asked, answer in pairs)
    return {"messages": [*system, *chain.from_iterable(turns)]}


def questions(row: Row) -> set[str]:
    """What is asked in a row, as compared for duplicates."""
    return {message["content"].lower().rstrip(".?! ") for message in row["messages"] if message["role"] == "user"}


def rows(split: str, seed: int) -> Iterator[Row]:
    """As many rows as the split has, without a question that was asked before."""
    draw, asked, count = Random(f"{seed}:{split}"), set[str](), 0
    while count < SIZES[split]:
        new = row(ASKED_BY[split], draw)
        if asked.isdisjoint(questions(new)):
            asked |= questions(new)
            count += 1
            yield new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for split in SIZES:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(split, options.seed))
        (options.out / f"loan_support_{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
