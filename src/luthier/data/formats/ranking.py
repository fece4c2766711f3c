"""Several answers to one prompt, ranked: `{"prompt": …, "answers": ["…", "…", "…"], "ranks": [1, 2, 2], "rater": "…"}`.

`ranks[i]` is the place of `answers[i]`: 1 is the best, and equal numbers are a tie. `rater` is who ranked them, if you like.

Also PandaLM's comparisons of two, judged by several people: `instruction`, `input`, `response1`, `response2`, and `annotator1`, …, each 1
or 2 for the better answer, 0 for a tie. Each annotator's is a ranking of its own.
"""

import re
from collections.abc import Mapping
from typing import Any

from luthier.data import jsonl
from luthier.data.sample import Sample
from luthier.data.turns import answer, decoded, prompt, prompt_key, text
from luthier.spec.rows import Message, Origin, Ranking

DESCRIPTION = "rows with `prompt`, `answers` and `ranks` (1 is best), or `response1`, `response2` and `annotator1` …"

LISTS = ("answers", "responses", "completions")
ANNOTATOR = re.compile(r"annotator_?\d+")
PLACES = {0: (1, 1), 1: (1, 2), 2: (2, 1)}
"""What an annotator's number says about the two answers."""


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: (_list(row) is not None and "ranks" in row) or _is_compared(row))


def mapping(sample: Sample) -> str:
    first = next((row for row in sample.objects if _list(row) or _is_compared(row)), {})
    if _is_compared(first):
        raters = _annotators(first)
        who = ", ".join(f"`{key}`" for key in raters)
        said = f"`instruction` (and `input`) → the prompt, `response1` and `response2` → the answers, {who} → "
        return said + "who judged (1 or 2 is better, 0 a tie)" + sample.unread(("instruction", "input", "response1", "response2", *raters))
    answers = _list(first) or LISTS[0]
    rater = ", `rater` → who ranked them" if sample.share("rater") else ""
    key = prompt_key(first) or "prompt"
    said = f"`{key}` → the prompt, `{answers}` → the answers, `ranks` → their places (1 is the best){rater}"
    return said + sample.unread((key, answers, "ranks", "rater", "system"))


def row(fields: Mapping[str, Any], origin: Origin) -> Ranking | tuple[Ranking, ...]:
    if _is_compared(fields):
        return _compared(fields, origin)
    key = _list(fields)
    if key is None or "ranks" not in fields:
        raise jsonl.missing(origin, [name for name in ("answers", "ranks") if name not in fields], fields, "ranking")
    answers, ranks = decoded(fields[key]), decoded(fields["ranks"])
    if not isinstance(answers, list):
        raise jsonl.wrong(origin, f"`{key}`", answers, "it must be a list of answers")
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        raise jsonl.wrong(
            origin, "`ranks`", ranks, "it must be a list of whole numbers, one for each answer; 1 is the best, equal numbers are a tie"
        )
    read = tuple(answer(value, f"answer {i}", origin) for i, value in enumerate(answers, start=1))
    rater = None if fields.get("rater") is None else str(fields["rater"])
    return Ranking(prompt(fields, origin, "ranking"), read, tuple(ranks), origin, rater)


def _compared(fields: Mapping[str, Any], origin: Origin) -> tuple[Ranking, ...]:
    """A comparison of two as one ranking for each annotator."""
    asked = prompt(fields, origin, "ranking")
    answers = tuple((Message("assistant", text(fields, key, origin)),) for key in ("response1", "response2"))
    return tuple(Ranking(asked, answers, _places(fields, key, origin), origin, key) for key in _annotators(fields))


def _places(fields: Mapping[str, Any], key: str, origin: Origin) -> tuple[int, ...]:
    value = fields[key]
    said = int(value) if isinstance(value, str) and value.strip().isdigit() else value
    if type(said) is not int or said not in PLACES:
        raise jsonl.wrong(origin, f"`{key}`", value, "it must be 1 or 2 for the better answer, or 0 for a tie")
    return PLACES[said]


def _list(fields: Mapping[str, Any]) -> str | None:
    return next((key for key in LISTS if key in fields), None)


def _is_compared(fields: Mapping[str, Any]) -> bool:
    return "response1" in fields and "response2" in fields and bool(_annotators(fields))


def _annotators(fields: Mapping[str, Any]) -> list[str]:
    return [key for key in fields if ANNOTATOR.fullmatch(key)]
