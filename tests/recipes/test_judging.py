"""What a run's answers are judged by, and the alarm where reward and check part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.contract.replay import rows_file

from luthier.adapters import full
from luthier.batches.answers import Answer
from luthier.batches.example import Example
from luthier.engine.loop import Loop
from luthier.errors import TrainingFailed
from luthier.recipes.judging import RunJudge
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence

OWN = """\
def longer(prompt, answer, item):
    return len(answer) / 10


def shorter(prompt, answer, item):
    return -len(answer) / 10


def brief(prompt, answer, item):
    return -len(answer)


def plain(prompt, answer, item):
    return sum(character < "\\x80" for character in answer) / 10


def middle(prompt, answer, item):
    return -abs(sum(character < "\\x80" for character in answer) - 8) / 10


def item(prompt, answer, item):
    return float(item["k"]) + len(prompt)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def judge_of(toy_folder: Path, **more: Any) -> RunJudge:
    spec = RunSpec.model_validate({"model": str(toy_folder), "data": {"train": "none.jsonl"}, "method": "grpo", **more})
    return RunJudge(spec, Renderer.load(toy_folder, spec.model.chat_template))


def asked(k: int) -> Example:
    facts = {"messages": [{"role": "user", "content": "Count."}], "tools": (), "item": {"k": k}}
    return Example((Sequence(np.array([256, 7]), np.zeros(2, np.float32)),), facts=facts)


def answer(text: str, finished: bool = True) -> Answer:
    ids = np.array([*text.encode(), *([257] if finished else [])], dtype=np.int64)
    return Answer(ids, np.zeros(len(ids), np.float32), finished)


def test_rewards_are_weighed_and_each_is_told(toy_folder: Path, own: Path):
    """1 · (k + 1 message) - 2 · (characters / 10); special tokens are no text."""
    rewards = [f"{own}:item", {"name": f"{own}:longer", "weight": -2}]
    found = judge_of(toy_folder, reward=rewards).judge([asked(3), asked(4)], [answer("abcde"), answer("", finished=True)])
    assert found.total.tolist() == pytest.approx([4 - 1, 5])
    assert [part.tolist() for part in found.parts.values()] == [pytest.approx([4, 5]), pytest.approx([0.5, 0])]
    assert len(found.parts) == 2, "told apart although both stand in one file"
    assert found.check is None


def test_a_check_is_no_part_of_the_reward(toy_folder: Path, own: Path):
    judge = judge_of(toy_folder, reward=f"{own}:longer", check=f"{own}:shorter")
    found = judge.judge([asked(0)], [answer("abcde")])
    assert judge.checks
    assert (found.total.tolist(), found.check.tolist()) == ([0.5], [-0.5])


def test_tools_that_an_answer_calls_can_be_graded(toy_folder: Path, own: Path):
    """By the template's own way of writing them; without tools the same text is text."""
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {"sum": {"type": "integer"}}}}}
    grader = {
        "type": "string_check",
        "name": "pays",
        "operation": "eq",
        "input": "{{sample.output_tools[0].function.name}} {{sample.output_text}}",
        "reference": "pay I do.",
    }
    judge = judge_of(toy_folder, model={"path": str(toy_folder), "chat_template": "plain"}, reward={"name": "grader", "grader": grader})
    written = answer('I do.\n<tool_call>{"name": "pay", "arguments": {"sum": 7}}</tool_call>')
    offered = Example(asked(1).sequences, facts={**asked(1).facts, "tools": (tool,)})
    assert judge.judge([offered, asked(1)], [written, written]).total.tolist() == [1, 0]


def test_a_reward_of_ones_own_sees_the_calls(toy_folder: Path, tmp_path: Path):
    path = tmp_path / "calls.py"
    path.write_text("def score(prompt, answer, item):\n    return len(item.get('tool_calls', [])) + 10 * len(answer)\n", encoding="utf-8")
    judge = judge_of(toy_folder, model={"path": str(toy_folder), "chat_template": "plain"}, reward=f"{path}:score")
    offered = Example(asked(1).sequences, facts={**asked(1).facts, "tools": ({"name": "pay"},)})
    assert judge.judge([offered], [answer('<tool_call>{"name": "pay", "arguments": {}}</tool_call>')]).total.tolist() == [1]


# -- the alarm in a real run --------------------------------------------------------------------------------------------


def watched(model: Path, rows: Path, out: Path, reward: str, check: str) -> RunSpec:
    """GRPO on lots of 12 prompts, 6 answers each, of at most 12 tokens, at a rate at which they change within a few lots."""
    return RunSpec.model_validate(
        {
            "model": str(model),
            "data": {"train": str(rows)},
            "method": {"name": "grpo", "group": 6, "rollout": {"prompts": 12, "max_new_tokens": 12}},
            "reward": reward,
            "check": check,
            "adapter": "full",
            "optimizer": {"learning_rate": 0.01, "schedule": "constant", "warmup_share": 0.0},
            "train": {"epochs": 30, "batch_size": 36, "token_budget": 8192, "dtype": "float32"},
            "evaluation": {"prompts": ()},
            "checkpoints": {"every": 1000},
            "out": str(out),
        }
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rows_file("Task", tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def collapsed(toy_folder: Path, tasks: Path, own: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The reward loves ASCII, of which a random model writes about 6 of 12 characters; the check wants 8, so it rises at first."""
    return train(watched(toy_folder, tasks, tmp_path_factory.mktemp("alarm") / "run", f"{own}:plain", f"{own}:middle"))


def test_a_reward_that_parts_from_its_check_stops_the_run(collapsed: Run):
    assert "he reward rises" in collapsed.record["alarm"]
    assert "the check falls" in collapsed.record["alarm"]
    assert collapsed.record["stopped_early"]
    assert collapsed.record["steps"] < 60


def test_the_best_weights_by_the_check_are_taken_back(collapsed: Run):
    best = collapsed.record["evaluation"]["best_step"]
    saved = load_file(collapsed.path / "model/model.safetensors")
    kept = load_file(collapsed.path / f"checkpoints/step-{best:08d}" / full.WEIGHTS)
    assert 0 < best < collapsed.record["steps"]
    assert all(torch.equal(saved[key], kept[key]) for key in saved)


def test_a_run_killed_after_its_alarm_does_not_go_on(collapsed: Run):
    """The last checkpoint knows of the alarm; the record is what was not written."""
    before = collapsed.record
    (collapsed.path / "record.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_step", lambda *_: pytest.fail("a step was made"))
        again = resume(collapsed.path)
    for key in ("steps", "status", "alarm", "stopped_early", "artefact"):
        assert again.record[key] == before[key], key


def test_where_the_first_weights_were_the_best_nothing_is_gained(toy_folder: Path, tasks: Path, own: Path, tmp_path: Path):
    with pytest.raises(TrainingFailed, match=r"the check falls.* The weights it began with were the best"):
        train(watched(toy_folder, tasks, tmp_path / "run", f"{own}:shorter", f"{own}:longer"))


def test_a_sound_reward_runs_to_its_end(toy_folder: Path, tasks: Path, own: Path, tmp_path: Path):
    spec = watched(toy_folder, tasks, tmp_path / "run", f"{own}:shorter", f"{own}:brief")
    run = train(spec.model_copy(update={"train": spec.train.model_copy(update={"max_steps": 16})}))
    assert run.record["alarm"] is None
    assert run.record["steps"] == 16
