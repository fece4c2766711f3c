"""Several processes train one run: the losses of one process, and its weights, whoever is killed on the way."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.contract.replay import rows_file
from tests.engine.runs import end_of, spec_of, steps_of
from tests.engine.team import done_by, together

from luthier.cli import _processes
from luthier.engine import sharding
from luthier.engine.folder import read_lines
from luthier.engine.sharding import Processes
from luthier.errors import RunError, SettingsError
from luthier.recipes.run import Run
from luthier.recipes.several import refuse_several
from luthier.recipes.train import resume, train
from luthier.spec.run import RunSpec
from luthier.testing import toy_model

OWN = Path(__file__).parent / "own"
CLOSE = 1e-4
"""Largest relative difference of a loss between one process and several, in fp32."""

Make = Callable[..., RunSpec]


def losses(run: Run, kind: str = "train") -> list[float]:
    return [line["loss"] for line in run.metrics if line["kind"] == kind]


def saved(run: Run) -> dict[str, torch.Tensor]:
    """What the run left to be used."""
    folder = run.path / ("model" if (run.path / "model").is_dir() else "adapter")
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def assert_same(several: Run, one: Run) -> None:
    """Every step once, with the loss of one process; validations, weights."""
    assert several.record["status"] == "succeeded"
    assert [line["step"] for line in steps_of(several)] == [line["step"] for line in steps_of(one)]
    for kind in ("train", "validation"):
        assert losses(several, kind) == pytest.approx(losses(one, kind), rel=CLOSE)
    for key in ("tokens", "grad_norm"):
        assert [line[key] for line in steps_of(several)] == pytest.approx([line[key] for line in steps_of(one)], rel=CLOSE)
    found, expected = saved(several), saved(one)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


@pytest.fixture
def make(toy_folder: Path, toy_rows: Path, tmp_path: Path) -> Make:
    """A run of 6 steps with validation, several streams a step, samples and checkpoints."""

    def settings(name: str, **given: Any) -> RunSpec:
        model = given.pop("base", toy_folder)
        usual: dict[str, Any] = {
            "data": {"train": str(toy_rows), "validation_share": 0.25},
            "train": {"token_budget": 64},
            "evaluation": {"prompts": ("Count from 3.",), "max_new_tokens": 4, "every": 2},
            "checkpoints": {"every": 2},
        }
        merged = {key: {**usual.get(key, {}), **value} if isinstance(value, dict) else value for key, value in given.items()}
        return spec_of(model, toy_rows, tmp_path / name, **{**usual, **merged})

    return settings


LEARNS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"adapter": "full"},
    "full, whole batches": {"adapter": "full", "train": {"token_budget": 2048}},
    "freeze": {"adapter": {"name": "freeze", "last_layers": 1}},
    "full, checkpointed": {"adapter": "full", "train": {"gradient_checkpointing": True}},
}


SLOW = pytest.mark.slow
"""Each is two runs, one of them by several processes. The first of a kind is for every day."""


@pytest.mark.parametrize("learns", [pytest.param(name, marks=[] if name in ("lora", "full") else SLOW) for name in LEARNS])
def test_several_processes_train_as_one_does(learns: str, make: Make):
    """1/N Σ over rows of one process, and over those of two: the same sum in another order."""
    one = train(make("one", **LEARNS[learns]))
    done_by(2, lambda: train(make("two", **LEARNS[learns])))
    two = Run(one.path.parent / "two")
    assert_same(two, one)
    assert all(finding["passed"] and finding["fp32"] < 1e-5 for finding in two.record["certificate"])
    assert two.record["processes"]["number"] == 2 and two.record["processes"]["backend"] == "gloo"
    assert two.record["machine"]["processes"] == 2
    assert [line["answer"] for line in read_lines(two.folder.samples_file)] == [
        line["answer"] for line in read_lines(one.folder.samples_file)
    ]


@SLOW
def test_three_processes_and_tied_embeddings(make: Make, tmp_path: Path):
    """3 divides neither the 32 of most widths nor the rows of a step: parts are uneven, and one process idles."""
    tied = toy_model(tmp_path / "tied", tie_word_embeddings=True)
    one = train(make("one", base=tied, adapter="full"))
    done_by(3, lambda: train(make("three", base=tied, adapter="full")))
    assert_same(Run(tmp_path / "three"), one)


@SLOW
def test_weights_in_bfloat16(make: Make, tmp_path: Path):
    """fp32 masters in parts. The losses of two orders of summation differ by bf16's rounding."""
    spec = {"adapter": "full", "train": {"dtype": "bfloat16"}}
    one = train(make("one", **spec))
    done_by(2, lambda: train(make("two", **spec)))
    two = Run(tmp_path / "two")
    assert losses(two) == pytest.approx(losses(one), rel=0.02)
    for finding in two.record["certificate"]:
        assert finding["passed"] and finding["fp32"] < 1e-5 and finding["run_dtype"] < 2 * finding["noise"]


DRAWS = ("grpo", "ppo")
"""Refused where every weight learns, see below."""

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("Preference", {}),
    "kto": ("Thumb", {}),
    "orpo": ("Preference", {}),
    "reward_model": ("Ranking", {}),
    "grpo": ("Task", {"group": 4, "kl": 0.04, "rollout": {"prompts": 4, "max_new_tokens": 8}}),
    "ppo": ("Task", {"answers": 2, "rollout": {"prompts": 4, "max_new_tokens": 8, "passes": 2}}),
}


EVERY_DAY = [("dpo", "full"), ("grpo", "lora")]
PAIRS = [(method, adapter) for method in OTHERS for adapter in ("lora", "full") if not (method in DRAWS and adapter == "full")]


@pytest.mark.parametrize("method, adapter", [pytest.param(*pair, marks=[] if pair in EVERY_DAY else SLOW) for pair in PAIRS])
def test_every_method_learns_the_same_from_several_processes(method: str, adapter: str, make: Make, tmp_path: Path):
    """A reference, a reward head, a critic; answers drawn by each process for its share of the prompts, and judged once."""
    kind, settings = OTHERS[method]
    given = {
        "method": {"name": method, **settings},
        "data": {"train": str(rows_file(kind, tmp_path))},
        "adapter": "full" if adapter == "full" else {"name": "lora", "rank": 4},
        "train": {"max_steps": 3, "token_budget": 160},
        "optimizer": {"learning_rate": 0.001},
        **({"reward": {"name": "pattern", "pattern": "[a-m]"}} if method in DRAWS else {}),
    }
    one = train(make("one", **given))
    done_by(2, lambda: train(make("two", **given)))
    assert_same(Run(tmp_path / "two"), one)


@pytest.mark.parametrize(
    "adapter, killed, then",
    [("lora", 0, 1), ("full", 1, 2), pytest.param("lora", 1, 2, marks=SLOW), pytest.param("full", 0, 1, marks=SLOW)],
)
def test_one_is_killed_the_other_ends_and_any_number_goes_on(adapter: str, killed: int, then: int, make: Make, tmp_path: Path):
    """In the middle of step 4 of 6, after the checkpoint of step 2: no step is lost, none is done twice."""
    given = {"adapter": "full"} if adapter == "full" else {}
    one = train(make("one", **given))

    def work() -> None:
        from luthier.engine.loop import Loop

        real = Loop._gradient

        def gradient(loop: Loop, lot: Any) -> Any:
            if loop.progress.step == 3 and loop.world.rank == killed:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(loop, lot)

        Loop._gradient = gradient  # type: ignore[method-assign]
        train(make("two", **given))

    team = together(2, work, said=tmp_path)
    assert end_of(team[killed], timeout_s=60) == -9
    began = time.monotonic()
    assert end_of(team[1 - killed], timeout_s=10) == 1
    assert time.monotonic() - began < 5
    assert "Another process of this run has ended, so this one ends, too." in (tmp_path / f"{1 - killed}.txt").read_text()
    done_by(then, lambda: resume(tmp_path / "two")) if then > 1 else resume(tmp_path / "two")
    two = Run(tmp_path / "two")
    assert_same(two, one)
    assert two.record["bit_exact"] is (then == 2)
    assert "going on after step 2" in [line["message"] for line in read_lines(two.folder.events_file)]


def test_one_process_begins_and_two_go_on(make: Make, tmp_path: Path):
    """Paused after step 2."""
    one = train(make("one", adapter="full"))

    def paused() -> None:
        from luthier.engine.loop import Loop

        real = Loop._step

        def step(loop: Loop, lot: Any) -> None:
            real(loop, lot)
            loop.stop.request()

        Loop._step = step  # type: ignore[method-assign]
        train(make("two", adapter="full"))

    done_by(1, paused)
    assert Run(tmp_path / "two").record["status"] == "paused"
    done_by(2, lambda: resume(tmp_path / "two"))
    assert_same(Run(tmp_path / "two"), one)


def test_a_pause_that_one_process_hears_of_is_everybodys(make: Make, tmp_path: Path):
    """The signal reaches the second process alone."""

    def work() -> None:
        from luthier.engine.loop import Loop

        real = Loop._step

        def step(loop: Loop, lot: Any) -> None:
            real(loop, lot)
            if loop.world.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        Loop._step = step  # type: ignore[method-assign]
        train(make("two"))

    done_by(2, work)
    record = Run(tmp_path / "two").record
    assert (record["status"], record["steps"]) == ("paused", 1)


@SLOW
def test_memory_that_ends_in_one_process_halves_the_streams_of_all(make: Make, tmp_path: Path):
    """12 scored tokens fit, which one row has; with a stream of two for each process some have more."""
    own = {"method": {"name": str(OWN / "tight_memory.py"), "fits": 12}, "certificate": {"rows": 2}, "train": {"token_budget": 1024}}
    one = train(make("one", **own))
    done_by(2, lambda: train(make("two", **own)))
    two = Run(tmp_path / "two")
    assert_same(two, one)
    assert two.record["token_budget"] < 1024
    assert {line["kind"] for line in read_lines(two.folder.events_file)} >= {"out_of_memory"}


def test_what_one_process_cannot_do_all_of_them_say(make: Make, tmp_path: Path, toy_folder: Path):
    """Another run's folder."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "precious.txt").write_text("mine")
    team = together(2, lambda: train(make("two")), said=tmp_path)
    assert [end_of(child) for child in team] == [1, 1]
    for rank in range(2):
        assert "is not empty (it holds precious.txt)" in (tmp_path / f"{rank}.txt").read_text()


def test_what_is_not_supported_is_refused_before_anything_is_loaded(make: Make):
    spec = make("run", method="grpo", adapter="full", reward={"name": "length", "target": 5})
    with pytest.raises(SettingsError, match="`grpo` draws answers from weights that several processes hold in parts"):
        refuse_several(spec, 2)
    refuse_several(spec, 1)
    refuse_several(make("run", method="grpo", reward={"name": "length", "target": 5}), 2)


@SLOW
def test_rows_that_go_alone_cannot_be_divided(make: Make, tmp_path: Path):
    """A Bloom's attention is its own, so each row is a forward, of which processes would have different numbers."""
    bloom = toy_model(tmp_path / "bloom", "bloom", n_layer=2, n_head=4)
    done_by(2, lambda: train(make("lora", base=bloom)))
    assert Run(tmp_path / "lora").record["packing"]["tier"] == 3
    spec = make("full", base=bloom, adapter="full")
    team = together(2, lambda: train(spec), said=tmp_path)
    assert [end_of(child) for child in team] == [1, 1]
    assert "some of these rows each need a forward of their own" in (tmp_path / "0.txt").read_text()
    assert not (tmp_path / "full").exists()


def test_both_sides_mean_one_file():
    """The command line starts processes without loading torch, so it says these words itself."""
    assert _processes.MEETING == sharding.MEETING
    with pytest.raises(RunError, match=_processes.LOST), sharding.telling_of_the_lost(Processes(0, 2, "gloo")):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:5678")
