"""The rows that are learned: GSM8K where it is at hand, else generated sums of the same lengths."""

import json
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

QUESTION_TOKENS = (4.11, 0.35)
"""Mean and standard deviation of the logarithm of a question's length, measured on GSM8K with Llama 2's tokenizer: about 65 tokens."""
ANSWER_TOKENS = (4.75, 0.42)
"""The same of an answer: about 127 tokens."""

NAMES = ("Ada", "Bruno", "Chen", "Dalia", "Emeka", "Farah", "Goran", "Hana", "Ivo", "Jara")
THINGS = ("apples", "books", "candles", "doors", "eggs", "flowers", "glasses", "hats", "stamps", "tickets")
VERBS = ("buys", "sells", "finds", "loses", "paints", "counts", "packs", "borrows", "mends", "wins")
TIMES = ("on Monday", "in the morning", "after lunch", "every week", "at the market", "in spring", "for a friend", "before work")

Row = dict[str, Any]


def sentence(draw: random.Random) -> str:
    """One sentence with numbers in it."""
    name, verb, thing, time = (draw.choice(words) for words in (NAMES, VERBS, THINGS, TIMES))
    a, b = draw.randint(2, 90), draw.randint(2, 90)
    forms = (
        f"{name} {verb} {a} {thing} {time}, and {draw.choice(NAMES)} {draw.choice(VERBS)} {b} more.",
        f"{a} + {b} = {a + b} {thing}, so {name} has {a + b} of them {time}.",
        f"If {name} {verb} {a} {thing} {time} and gives {b} away, how many {thing} are left?",
    )
    return draw.choice(forms)


def gsm8k(path: Path, number: int) -> list[Row]:
    """The first rows of GSM8K's train.jsonl as conversations."""
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line, _ in zip(file, range(number), strict=False)]
    return [_conversation(line["question"], line["answer"]) for line in lines]


def generated(number: int, count: Callable[[str], int], seed: int = 0) -> list[Row]:
    """Rows whose lengths in tokens, as `count` counts them, are spread like those of GSM8K."""
    draw = random.Random(seed)
    return [_conversation(_text(draw, QUESTION_TOKENS, count), _text(draw, ANSWER_TOKENS, count)) for _ in range(number)]


def _text(draw: random.Random, length: tuple[float, float], count: Callable[[str], int]) -> str:
    """Sentences of at least the drawn number of tokens in all."""
    wanted = math.exp(draw.gauss(*length))
    sentences: list[str] = []
    tokens = 0
    while tokens < wanted:
        sentences.append(sentence(draw))
        tokens += count(sentences[-1])
    return " ".join(sentences)


def _conversation(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def pairs(conversations: list[Row]) -> list[Row]:
    """Preferences: each question with its own answer as the better one, and the next row's, on average as long, as the worse."""
    others = [*conversations[1:], *conversations[:1]]
    return [
        {"prompt": mine["messages"][:-1], "chosen": mine["messages"][-1:], "rejected": other["messages"][-1:]}
        for mine, other in zip(conversations, others, strict=True)
    ]


def several(number: int, answers: int, tokens: int, count: Callable[[str], int], alike: bool, seed: int = 0) -> list[Row]:
    """Conversations, `answers` to each of `number` questions, each question and answer of about `tokens`.

    Args:
        alike: whether those with one question begin alike. Otherwise each begins with another digit, and is as long.
    """
    draw, length = random.Random(seed), (math.log(tokens), 0.0)
    questions = [_text(draw, length, count) for _ in range(number)]
    return [_conversation(f"{0 if alike else i} {question}", _text(draw, length, count)) for question in questions for i in range(answers)]


def prompts(conversations: list[Row]) -> list[Row]:
    """Questions alone."""
    return [{"prompt": row["messages"][:-1]} for row in conversations]


def write(path: Path, rows: Iterable[Row]) -> Path:
    """One JSON value a line. Returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
