"""What base and tuned model answer to the same questions, side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.engine.folder import write_atomic
from luthier.recipes.assistant import Assistant, Sampling, open_run
from luthier.recipes.page import COMPARISON
from luthier.spec.rows import Message

MAX_NEW_TOKENS = 100
"""Longest answer, in tokens."""


def compare(path: Path, questions: Sequence[str]) -> list[dict[str, Any]]:
    """What base and tuned model of a finished run answer, greedily, also written into its folder as `comparison.jsonl`.

    Raises:
        UserError: as `open_run`; or no room to write.
    """
    base = _answers(open_run(path, base=True), questions)
    tuned = _answers(open_run(path), questions)
    lines = [
        {"question": question, "base": b, "base_finished": b_finished, "tuned": t, "tuned_finished": t_finished}
        for question, (b, b_finished), (t, t_finished) in zip(questions, base, tuned, strict=True)
    ]
    write_atomic(path / COMPARISON, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return lines


def _answers(assistant: Assistant, questions: Sequence[str]) -> list[tuple[str, bool]]:
    sampling = Sampling(temperature=0.0, max_new_tokens=MAX_NEW_TOKENS)
    answers = [assistant.answer([Message("user", question)], sampling) for question in questions]
    return [(answer.text, answer.finished) for answer in answers]
