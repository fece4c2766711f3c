"""Stages that feed each other: skipped where nothing changed, gone on with where one stopped, repeated until a metric is reached."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.data.load import stream
from luthier.engine.report import Silent
from luthier.errors import DataError, GradingError, RunError, SettingsError
from luthier.recipes.ledger import FILE
from luthier.recipes.pipeline import Outcome, Watcher, plan, run
from luthier.recipes.pipeline_check import check
from luthier.recipes.ranked import Person
from luthier.recipes.stages import Told
from luthier.spec.pipeline_file import load_pipeline
from luthier.spec.rows import Ranking
from luthier.spec.run import DataSource
from luthier.testing import write_jsonl

RATER = """
import os
from pathlib import Path

def score(prompt, answer, item):
    if Path("deadly").exists():
        os.kill(os.getpid(), 9)
    if Path("broken").exists():
        raise ValueError("the rater is ill")
    return answer.count("e") - 0.01 * len(answer)
"""

Do = Callable[..., Outcome]
Stages = list[dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with prompts and a rater."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rater.py").write_text(RATER, encoding="utf-8")
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"Count from {k}."} for k in range(4)])
    return tmp_path


@pytest.fixture
def two(toy_folder: Path) -> Stages:
    """Answers of a model, ranked."""
    answers = {"name": "answers", "kind": "answers", "model": str(toy_folder), "prompts": "prompts.jsonl", "number": 3, "max_new_tokens": 8}
    return [answers, {"name": "rankings", "kind": "rank", "answers": "${answers}", "by": "./rater.py:score"}]


@pytest.fixture
def do(place: Path) -> Do:
    """Writes a pipeline file and runs it."""

    def do(stages: Stages, watcher: Watcher | None = None, doing: Callable[..., Outcome] = run) -> Outcome:
        Path("p.yaml").write_text(yaml.safe_dump({"out": "out", "stages": stages}, sort_keys=False), encoding="utf-8")
        pipeline = load_pipeline("p.yaml")
        check(pipeline)
        return doing(pipeline, watcher) if watcher else doing(pipeline)

    return do


def actions(outcome: Outcome) -> dict[str, str]:
    return {each.entry.stage: each.action for each in outcome.done}


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def kept() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path("out", FILE).read_text(encoding="utf-8"))
    return value


def test_answers_are_ranked_as_rows_to_learn_from(do: Do, two: Stages):
    outcome = do(two)
    assert outcome.status == "succeeded"
    answered = rows("out/answers/answers.jsonl")
    assert [len(row["answers"]) for row in answered] == [3] * 4
    read = list(stream(DataSource(path="out/rankings/rankings.jsonl")))
    assert read and all(isinstance(row, Ranking) for row in read)
    for row in rows("out/rankings/rankings.jsonl"):
        by_rank = sorted(zip(row["ranks"], row["scores"], strict=True))
        assert [score for _, score in by_rank] == sorted(row["scores"], reverse=True), "the best answer has place 1"
    record = json.loads(Path("out/rankings/record.json").read_text(encoding="utf-8"))
    assert [parent["stage"] for parent in record["parent"]] == ["answers"]
    assert kept()["stages"][1]["parents"] == {"answers": "answers"}


def test_what_did_not_change_is_skipped(do: Do, two: Stages):
    do(two)
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.jsonl")}
    again = do(two)
    assert actions(again) == {"answers": "skip", "rankings": "skip"}
    assert again.done[0].why == "Nothing it is made from has changed."
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.jsonl")} == before


def test_from_the_first_changed_stage_on_all_is_made_beside_the_old(do: Do, two: Stages):
    do(two)
    two[1]["tie"] = 0.005
    assert actions(do(two)) == {"answers": "skip", "rankings": "make"}
    two[0]["seed"] = 1
    outcome = do(two)
    assert [(each.entry.folder, each.action, each.why) for each in outcome.done] == [
        ("answers.v2", "make", "`seed` is set to something else."),
        ("rankings.v3", "make", "`answers` was made again."),
    ]
    assert {path.name for path in Path("out").iterdir() if path.is_dir()} == {
        "answers",
        "answers.v2",
        "rankings",
        "rankings.v2",
        "rankings.v3",
    }
    del two[0]["seed"], two[1]["tie"]
    back = do(two)
    assert [(each.entry.folder, each.action) for each in back.done] == [("answers", "skip"), ("rankings", "skip")]


def test_a_changed_file_and_a_changed_rater_are_seen(do: Do, two: Stages, place: Path):
    do(two)
    (place / "rater.py").write_text(RATER.replace("0.01", "0.02"), encoding="utf-8")
    changed = do(two)
    assert actions(changed) == {"answers": "skip", "rankings": "make"}
    assert changed.done[1].why == "./rater.py:score has changed."
    write_jsonl(place / "prompts.jsonl", [{"prompt": "Say something else."}, {"prompt": "And more."}])
    assert actions(do(two)) == {"answers": "make", "rankings": "make"}


def test_after_a_failure_in_the_middle_it_goes_on_there(do: Do, two: Stages, place: Path):
    (place / "broken").touch()
    with pytest.raises(GradingError, match=r"The stage `rankings` failed: .*the rater is ill"):
        do(two)
    assert [(entry["stage"], entry["status"]) for entry in kept()["stages"]] == [("answers", "succeeded"), ("rankings", "failed")]
    (place / "broken").unlink()
    outcome = do(two)
    assert actions(outcome) == {"answers": "skip", "rankings": "go on"}
    assert outcome.done[1].entry.folder == "rankings"


def test_a_stage_that_failed_before_it_made_anything_leaves_its_folder_to_the_next(do: Do, two: Stages, place: Path):
    (place / "broken").touch()
    with pytest.raises(GradingError):
        do(two)
    (place / "broken").unlink()
    two[1]["tie"] = 0.005
    assert do(two).done[1].entry.folder == "rankings"


@pytest.mark.slow
def test_a_pipeline_that_was_killed_goes_on_there(do: Do, two: Stages, place: Path):
    do(two, doing=plan)  # writes the file
    (place / "deadly").touch()
    program = "from luthier.cli.main import main; main(['pipeline', 'p.yaml'])"
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [(entry["stage"], entry["status"]) for entry in kept()["stages"]] == [("answers", "succeeded"), ("rankings", "running")]
    (place / "deadly").unlink()
    assert [(each.action, each.why) for each in do(two).done] == [
        ("skip", "Nothing it is made from has changed."),
        ("go on", "It was broken off."),
    ]


class Interrupting(Watcher):
    """Breaks off after so many prompts are answered."""

    def __init__(self, after: int) -> None:
        def on_done(name: str, done: int, total: int) -> None:
            if name == "prompts answered" and done == after:
                raise KeyboardInterrupt

        self.told = Told(on_done=on_done)


def test_answers_that_were_broken_off_go_on_with_the_same_draws(do: Do, two: Stages, place: Path):
    do(two)
    whole = rows("out/answers/answers.jsonl")
    two[0]["seed"] = 0  # the default, said aloud: nothing changes
    (place / "out").rename(place / "whole")
    with pytest.raises(KeyboardInterrupt):
        do(two, Interrupting(after=2))
    half = Path("out/answers/answers.jsonl")
    assert kept()["stages"][0]["status"] == "interrupted" and rows(str(half)) == whole[:2]
    with half.open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role"')  # torn by a power cut
    assert do(two).status == "succeeded"
    assert rows(str(half)) == whole


def test_a_folder_that_was_removed_is_made_again(do: Do, two: Stages):
    do(two)
    for file in Path("out/rankings").iterdir():
        file.unlink()
    Path("out/rankings").rmdir()
    outcome = do(two)
    assert [(each.action, each.why) for each in outcome.done] == [
        ("skip", "Nothing it is made from has changed."),
        ("make", "Its folder is gone."),
    ]


def test_a_plan_makes_nothing(do: Do, two: Stages):
    assert actions(do(two, doing=plan)) == {"answers": "make", "rankings": "make"}
    assert not Path("out").exists()
    do(two)
    two[1]["tie"] = 0.005
    planned = do(two, doing=plan)
    assert actions(planned) == {"answers": "skip", "rankings": "make"}
    assert not Path("out/rankings.v2").exists()


def test_a_folder_of_something_else_is_left_alone(do: Do, two: Stages, place: Path):
    (place / "out").mkdir()
    (place / "out" / "thesis.txt").write_text("five years", encoding="utf-8")
    with pytest.raises(RunError, match=r"holds thesis\.txt and no pipeline\.json"):
        do(two)


def test_a_person_ranks_stops_and_goes_on(do: Do, two: Stages):
    two[1]["by"] = "person"
    with pytest.raises(SettingsError, match="A person ranks, and there is none"):
        do(two)
    typed = iter(["3>2>1", "q"])
    watcher = Watcher()
    watcher.told = Told(person=Person(lambda _: next(typed), lambda _: None))
    paused = do(two, watcher)
    assert (paused.status, kept()["stages"][1]["status"]) == ("paused", "paused")
    typed = iter(["1=2>3", "s", "1>2>3"])
    assert do(two, watcher).status == "succeeded"
    assert [row["ranks"] for row in rows("out/rankings/rankings.jsonl")] == [[3, 2, 1], [1, 1, 2], [1, 2, 3]]


def test_a_rater_that_finds_all_alike_teaches_nothing(do: Do, two: Stages):
    two[1]["by"] = {"name": "pattern", "pattern": ".", "match": 1.0, "no_match": 1.0}
    with pytest.raises(DataError, match=r"`pattern` finds all answers to every prompt .* equally good"):
        do(two)


@pytest.fixture
def in_rounds(two: Stages, toy_folder: Path, place: Path) -> Stages:
    """Each round asks what the round before asked, and compares a model with what a file says; the rater decides."""
    known = [{"messages": [{"role": "user", "content": f"Count from {k}."}], "answer": "eeeeeeee"} for k in range(4)]
    write_jsonl(place / "known.jsonl", known)
    again = {**two[0], "name": "more", "prompts": "${more or answers}"}
    compare = {
        "name": "compare",
        "kind": "compare",
        "a": str(toy_folder),
        "b": "known.jsonl",
        "judge": "./rater.py:score",
        "max_new_tokens": 8,
    }
    until = {"metric": "compare.win_rate", "at_least": 0.5}
    return [two[0], {"repeat": {"until": until, "at_most": 2}, "stages": [again, compare]}, {**two[1], "answers": "${more}"}]


def test_rounds_end_at_the_metric(do: Do, in_rounds: Stages):
    """The toy says fewer `e` than the file: it wins 0 of 4. So there are 2 rounds, the most; and 1 where 0 is enough."""
    outcome = do(in_rounds)
    assert list(actions(outcome)) == ["answers", "more", "compare", "more~2", "compare~2", "rankings"]
    assert kept()["rounds"][0]["values"] == [0.0, 0.0] and not kept()["rounds"][0]["reached"]
    assert outcome.rounds == ["compare.win_rate is 0 after round 2, below 0.5: 2 rounds are the most."]
    parents = {entry["stage"]: entry["parents"] for entry in kept()["stages"]}
    assert (parents["more"], parents["more~2"]) == ({"answers": "answers"}, {"more": "more"}), "each takes what the round before made"
    assert parents["rankings"] == {"more": "more~2"}, "what comes after the rounds takes what the last one made"
    assert set(actions(do(in_rounds)).values()) == {"skip"}
    in_rounds[1]["repeat"]["until"]["at_least"] = 0.0
    sooner = do(in_rounds)
    assert actions(sooner) == {"answers": "skip", "more": "skip", "compare": "skip", "rankings": "make"}
    assert sooner.rounds == ["compare.win_rate is 0 after round 1, at least 0: no further round."]


BY_ROUND = """
from pathlib import Path

WINS = {1: 3, 2: 1, 3: 2}

def score(prompts, answers, items):
    wins = WINS[len(list(Path("out").glob("compare*")))]
    ours = [answer != "eeeeeeee" for answer in answers]
    return [float(int(prompt[-1]["content"][-2]) < wins) if our else 0.5 for prompt, our in zip(prompts, ours)]
"""


def test_rounds_go_on_from_the_best_one(do: Do, in_rounds: Stages, place: Path):
    """The judge lets the toy win 3, 1 and 2 of 4: the third round begins where the first ended, and so does what follows."""
    (place / "judge.py").write_text(BY_ROUND, encoding="utf-8")
    in_rounds[1]["repeat"] = {"until": {"metric": "compare.win_rate", "at_least": 0.9}, "at_most": 3}
    in_rounds[1]["stages"][1]["judge"] = "./judge.py:score"
    said: list[str] = []
    watcher = Watcher()
    watcher.said = said.append  # type: ignore[method-assign]
    outcome = do(in_rounds, watcher)
    (rounds,) = kept()["rounds"]
    assert (rounds["values"], rounds["best"]) == ([0.75, 0.25, 0.5], 1)
    assert said == [
        "compare.win_rate is 0.75 after round 1, below 0.9: round 2 begins.",
        "compare.win_rate is 0.25 after round 2, below 0.9: round 3 begins, from round 1, the best so far (0.75).",
        "compare.win_rate is 0.5 after round 3, below 0.9: 3 rounds are the most. Round 1 was the best (0.75), and what follows takes that "
        "one.",
    ]
    parents = {entry["stage"]: entry["parents"] for entry in kept()["stages"]}
    assert parents["more~3"] == parents["more~2"] == {"more": "more"}
    assert parents["rankings"] == {"more": "more"}
    two, three = (rows(f"out/more~{number}/answers.jsonl") for number in (2, 3))
    assert [row["answers"] for row in two] != [row["answers"] for row in three], "another round draws with another seed"
    assert outcome.rounds == said[-1:]
    assert set(actions(do(in_rounds)).values()) == {"skip"}


def test_a_metric_that_the_record_lacks_is_named(do: Do, in_rounds: Stages):
    in_rounds[1]["repeat"]["until"]["metric"] = "more.finnished"
    with pytest.raises(SettingsError, match=r"more has no `finnished` .* Did you mean `finished`\?"):
        do(in_rounds)


class Stopping(Silent):
    """Breaks off a run at a step, as a second Ctrl-C does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        if metrics["step"] == self.at:
            raise KeyboardInterrupt


def test_a_run_that_was_broken_off_goes_on_to_the_same_weights(do: Do, toy_folder: Path, toy_rows: Path, place: Path):
    sft = {
        "name": "sft",
        "kind": "train",
        "model": str(toy_folder),
        "data": str(toy_rows),
        "train": {"epochs": 2, "batch_size": 2, "dtype": "float32"},
        "evaluation": {"prompts": []},
        "checkpoints": {"every": 2},
    }
    stages = [sft, {"name": "merged", "kind": "merge", "run": "${sft}"}]
    watcher = Watcher()
    watcher.told = Told(reporter=lambda: Stopping(at=5))
    with pytest.raises(KeyboardInterrupt):
        do(stages, watcher)
    assert kept()["stages"][0]["status"] == "interrupted"
    outcome = do(stages)
    assert actions(outcome) == {"sft": "go on", "merged": "make"}
    (place / "out").rename(place / "broken-off")
    do(stages)
    adapter = "sft/adapter/adapter_model.safetensors"
    assert (place / "broken-off" / adapter).read_bytes() == (place / "out" / adapter).read_bytes()
    record = json.loads((place / "out" / "merged" / "record.json").read_text(encoding="utf-8"))
    assert record["parent"][0]["folder"] == str(place / "out" / "sft")
