"""Rewards for answers that keep to a form, told by programs: rows name instructions as IFEval does (Zhou et al., 2023, arXiv:2311.07911).

    luthier train grpo --model MODEL --data prompts.jsonl reward=examples/format_rewards.py:score

A row: {"prompt": "…", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]


def words(answer: str) -> list[str]:
    return re.findall(r"\w+", answer)


def enough(number: int, relation: str, wanted: int) -> bool:
    """`relation`: `at least` or `less than`."""
    return number >= wanted if relation == "at least" else number < wanted


def count(word: str, answer: str) -> int:
    return len(re.findall(rf"\b{re.escape(word.lower())}\b", answer.lower()))


def is_json(answer: str) -> bool:
    try:
        json.loads(re.sub(r"^```(json)?|```$", "", answer.strip()))
    except ValueError:
        return False
    return True


def in_case(answer: str, changed: str) -> bool:
    return answer == changed and any(letter.isalpha() for letter in answer)


CHECKS: dict[str, Callable[[str, Arguments], bool]] = {
    "punctuation:no_comma": lambda answer, _: "," not in answer,
    "length_constraints:number_words": lambda answer, a: enough(len(words(answer)), a["relation"], a["num_words"]),
    "length_constraints:number_sentences": lambda answer, a: enough(
        len(re.findall(r"[.!?]+(?:\s|$)", answer)), a["relation"], a["num_sentences"]
    ),
    "length_constraints:number_paragraphs": lambda answer, a: len(re.split(r"\s*\*\*\*\s*", answer.strip())) == a["num_paragraphs"],
    "keywords:existence": lambda answer, a: all(count(word, answer) for word in a["keywords"]),
    "keywords:forbidden_words": lambda answer, a: not any(count(word, answer) for word in a["forbidden_words"]),
    "keywords:frequency": lambda answer, a: enough(count(a["keyword"], answer), a["relation"], a["frequency"]),
    "keywords:letter_frequency": lambda answer, a: enough(answer.lower().count(a["letter"].lower()), a["let_relation"], a["let_frequency"]),
    "change_case:english_lowercase": lambda answer, _: in_case(answer, answer.lower()),
    "change_case:english_capital": lambda answer, _: in_case(answer, answer.upper()),
    "change_case:capital_word_frequency": lambda answer, a: enough(
        sum(word.isupper() for word in words(answer)), a["capital_relation"], a["capital_frequency"]
    ),
    "startend:quotation": lambda answer, _: len(answer.strip()) > 1 and answer.strip()[0] == answer.strip()[-1] == '"',
    "startend:end_checker": lambda answer, a: answer.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower()),
    "detectable_format:title": lambda answer, _: re.search(r"<<[^\n<>]+>>", answer) is not None,
    "detectable_format:number_bullet_lists": lambda answer, a: len(re.findall(r"(?m)^\s*[*-]\s+\S", answer)) == a["num_bullets"],
    "detectable_format:number_highlighted_sections": lambda answer, a: len(re.findall(r"\*[^\n*]+\*", answer)) >= a["num_highlights"],
    "detectable_format:json_format": lambda answer, _: is_json(answer),
    "detectable_content:number_placeholders": lambda answer, a: len(re.findall(r"\[[^\[\]]+\]", answer)) >= a["num_placeholders"],
    "detectable_content:postscript": lambda answer, a: a["postscript_marker"].lower() in answer.lower(),
}
"""How each kind of instruction is told, by its name. Those that need a model to tell (the language, two answers at once) are not here."""


def score(prompt: list[dict[str, Any]], answer: str, item: dict[str, Any]) -> float:
    """The share, in [0, 1], of the row's instructions that the answer keeps, among those that a program can tell; 0 for no words at all."""
    asked = [
        (CHECKS[name], arguments) for name, arguments in zip(item["instruction_id_list"], item["kwargs"], strict=True) if name in CHECKS
    ]
    if not asked or not words(answer):
        return 0.0
    return sum(check(answer, arguments) for check, arguments in asked) / len(asked)
