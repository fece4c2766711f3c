"""A comparison as a job: what was kept is gone on from, and nothing is drawn or judged twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import UserError
from luthier.recipes import contest
from luthier.recipes.contest import RESULT, VERDICTS, compete
from luthier.spec.comparisons import Contender, Contest
from luthier.testing import write_jsonl

QUESTIONS = [f"Question {i}?" for i in range(5)]
SIMILAR = {
    "type": "text_similarity",
    "name": "s",
    "input": "{{sample.output_text}}",
    "reference": "a b c",
    "evaluation_metric": "fuzzy_match",
}


def asked(a: Contender, b: Contender, grader: dict[str, Any] = SIMILAR, **more: Any) -> Contest:
    judge = {"name": "grader", "grader": grader}
    given = {"max_prompts": 100, "max_tokens": 6, "temperature": 1.0, "seed": 1, **more}
    return Contest(a=a, b=b, prompts="prompts.jsonl", judge=judge, judge_name="s", **given)


@pytest.fixture
def base(toy_folder: Path) -> Contender:
    return Contender(name="toy", model=str(toy_folder))


@pytest.fixture
def tuned(toy_folder: Path, toy_run: Path) -> Contender:
    return Contender(name="mine", model=str(toy_folder), adapter=str(toy_run / "adapter"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": question} for question in QUESTIONS])
    return tmp_path


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / RESULT).read_text()))


def test_it_goes_on_where_it_was_broken_off(folder: Path, base: Contender, tuned: Contender, monkeypatch: pytest.MonkeyPatch):
    """After two answers of the second one; the answers and verdicts are those of one that was not broken off."""
    monkeypatch.setattr(contest, "LOT", 2)
    assert compete(asked(tuned, base), folder) == 5
    whole = {name: (folder / name).read_bytes() for name in ("a.jsonl", "b.jsonl", VERDICTS, RESULT)}
    (folder / "b.jsonl").write_bytes(b"".join(whole["b.jsonl"].splitlines(keepends=True)[:2]) + b'{"text": "tor')
    for name in (VERDICTS, RESULT):
        (folder / name).unlink()
    compete(asked(tuned, base), folder)
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    (folder / VERDICTS).write_bytes(whole[VERDICTS].splitlines(keepends=True)[0])
    monkeypatch.setattr(contest, "_opened", lambda contender: pytest.fail("every answer is there"))
    compete(asked(tuned, base), folder)
    assert {name: (folder / name).read_bytes() for name in whole} == whole


def test_a_model_against_itself_is_nothing_but_ties(folder: Path, base: Contender):
    compete(asked(base, base), folder)
    found = result(folder)["found"]
    assert (found["pairs"], found["same"], found["ties"]["value"], found["win_rate"]["value"]) == (5, 5, 1.0, 0.5)
    assert found["better"] is None and found["order"] is None


def test_a_judge_of_both_is_asked_in_both_orders(folder: Path, base: Contender, tuned: Contender):
    """One that always likes what it sees first."""
    first = {"type": "string_check", "name": "f", "input": "{{item.answer_1}}", "reference": "{{sample.output_text}}", "operation": "eq"}
    compete(asked(tuned, base, first), folder)
    told = result(folder)
    order = told["found"]["order"]
    assert order["first_preferred"]["value"] == 1 and order["agreed"]["value"] == 0 and told["found"]["ties"]["value"] == 1
    assert {one["agreed"] for one in told["examples"]} <= {False, None}


def test_what_cannot_be_asked_is_said(folder: Path, base: Contender):
    (folder / "prompts.jsonl").write_text(json.dumps({"prompt": "long " * 300}) + "\n")
    with pytest.raises(UserError, match=r"prompts\.jsonl:1: .*Shorten or remove it"):
        compete(asked(base, base), folder)
