"""One answer with a number for each criterion: `{"prompt": …, "answer": …, "scores": {"helpful": 4, "correct": 5}, "rater": "…"}`.

`rater` is who gave them, if you like. A single `score` or `rating` is a criterion too, and so are HelpSteer's five columns.
"""

from collections.abc import Mapping
from typing import Any

from luthier.data import jsonl
from luthier.data.sample import Sample
from luthier.data.turns import ANSWERS, answer, decoded, prompt, prompt_key
from luthier.spec.rows import Origin, Rating

DESCRIPTION = "rows with `prompt`, `answer` and `scores` by criterion"

OBJECTS = ("scores", "ratings")
NUMBERS = ("score", "rating", "helpfulness", "correctness", "coherence", "complexity", "verbosity")


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: bool(_criteria(row)) and prompt_key(row) is not None and bool(_answer(row)))


def mapping(sample: Sample) -> str:
    first = next((row for row in sample.objects if _criteria(row) and _answer(row)), {})
    key, response = prompt_key(first) or "prompt", _answer(first) or "answer"
    held = [name for name in (*OBJECTS, *NUMBERS) if name in first]
    scores = ", ".join(f"`{name}`" for name in held) + f" → scores for {', '.join(_criteria(first))}"
    rater = ", `rater` → who gave them" if sample.share("rater") else ""
    return f"`{key}` → the prompt, `{response}` → the answer, {scores}{rater}" + sample.unread((key, response, *held, "rater", "system"))


def row(fields: Mapping[str, Any], origin: Origin) -> Rating:
    response, criteria = _answer(fields), _criteria(fields)
    if not response or not criteria or prompt_key(fields) is None:
        held = {"prompt": prompt_key(fields), "answer": response, "scores": criteria}
        raise jsonl.missing(origin, [name for name, value in held.items() if not value], fields, "ratings")
    scores = {name: _number(value, name, origin) for name, value in criteria.items() if value is not None}
    rater = None if fields.get("rater") is None else str(fields["rater"])
    return Rating(prompt(fields, origin, "ratings"), answer(fields[response], f"`{response}`", origin), scores, origin, rater)


def _criteria(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The scores by criterion, not yet looked at."""
    for key in OBJECTS:
        if isinstance(given := decoded(fields.get(key)), dict):
            return given
    return {key: fields[key] for key in NUMBERS if key in fields}


def _number(value: Any, criterion: str, origin: Origin) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise jsonl.wrong(origin, f"the score for `{criterion}`", value, "it must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise jsonl.wrong(origin, f"the score for `{criterion}`", value, "it must be a number")
    return float(value)


def _answer(fields: Mapping[str, Any]) -> str:
    return next((key for key in ANSWERS if key in fields), "")
