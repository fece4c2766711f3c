"""Training: start a run, or go on with one, to a finished run folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.engine import checkpoint
from luthier.engine.artefact import write_artefact
from luthier.engine.folder import RunFolder, mend, read_json, read_lines, write_atomic, write_json
from luthier.engine.loop import Loop, Outcome
from luthier.engine.report import Progress, Reporter, Several, Silent, untold
from luthier.engine.setup import Setup
from luthier.engine.sharding import joined, telling_of_the_lost
from luthier.engine.stop import StopSignal
from luthier.engine.trackers import require, trackers
from luthier.errors import RunError, SettingsError, UserError
from luthier.models import device as devices
from luthier.models.world import ALONE, World
from luthier.recipes import page
from luthier.recipes.comparison import compare
from luthier.recipes.components import resolve
from luthier.recipes.prepare import prepare
from luthier.recipes.run import Run
from luthier.recipes.runs import look
from luthier.recipes.trust import judged
from luthier.spec.load import load_run, to_yaml
from luthier.spec.paths import anchored
from luthier.spec.run import RunSpec


def train(
    spec: RunSpec, reporter: Reporter | None = None, now: datetime | None = None, parent: Sequence[Mapping[str, str]] | None = None
) -> Run:
    """Train from settings into a new run folder.

    Args:
        parent: what this run was made from, for its record: of each its stage, folder and fingerprint.
    Raises:
        UserError: anything wrong with settings, data, model or folder, before or during the run.
    """
    with joined() as world:
        reporter = reporter if reporter and world.is_first else Silent()
        resolve(spec)
        require(spec.report)
        started, path = world.once(lambda: _place(spec, now))
        folder = RunFolder(path, writes=world.is_first)
        made = not folder.path.exists()
        world.once(folder.refuse_taken)
        with folder.locked() if world.is_first else nullcontext():
            world.once(folder.refuse_taken)  # by a run that began just now
            effective = anchored(spec.model_copy(update={"out": str(folder.path)}))
            try:
                setup = prepare(effective, folder, reporter.event, started, progress=reporter.encoding, world=world)
            except UserError:
                if made and world.is_first:  # nothing has begun: no empty folder stays behind
                    folder.remove_empty()
                raise
            known = {part: setup.record[part] for part in ("machine", "versions", "dtype")}
            start = {"started": started.isoformat(), "inputs": _inputs(setup), **known, "parent": parent}
            world.once(lambda: write_json(folder.path / "start.json", start))
            world.once(lambda: write_atomic(folder.run_file, to_yaml(effective)))
            run = _run(setup, reporter)
            del setup  # a comparison loads the model again
            world.once(lambda: _compare(run, reporter))
            return run


def resume(path: str | Path, reporter: Reporter | None = None) -> Run:
    """Go on with a run that was paused or killed, from its last whole checkpoint; a finished one is returned as it is.

    Raises:
        RunError: no run there.
    """
    folder = RunFolder(Path(path))
    if not folder.is_run:
        raise RunError(f"{path} holds no run (there is no run.yaml). Give a folder that `luthier train` made.")
    with joined() as world:
        return _resume(RunFolder(Path(path), writes=world.is_first), reporter if reporter and world.is_first else Silent(), world)


def _resume(folder: RunFolder, reporter: Reporter, world: World) -> Run:
    if world.once(lambda: folder.record_file.is_file() and folder.read_record()["status"] == "succeeded"):
        run = Run(folder.path)
        world.once(lambda: _compare(run, reporter))
        return run
    with folder.locked() if world.is_first else nullcontext():
        world.once(lambda: mend(folder.events_file))
        start = read_json(folder.path / "start.json")
        setup = prepare_again(folder, folder, reporter.event, reporter.encoding, world)
        if changed := [name for name, digest in _inputs(setup).items() if start["inputs"].get(name) != digest]:
            raise RunError(
                f"{folder.path} cannot go on: {changed[0]} has changed since the run began. Put it back as it was, or begin a new run."
            )
        start["machine"].setdefault("processes", 1)
        differs = [
            f"{key}: {start[part].get(key)} → {value}"
            for part in ("machine", "versions")
            for key, value in setup.record[part].items()
            if start[part].get(key) != value
        ]
        if differs:
            message = f"This is not the machine the run began on ({'; '.join(differs)}): it goes on, but not bit for bit."
            folder.event("not_bit_exact", message)
            reporter.event(message)
        run = _run(setup, reporter)
        del setup
        world.once(lambda: _compare(run, reporter))
    if world.is_first and (run.path / page.FILE).is_file():  # drawn when the run was paused
        page.write_page(run.path)
    return run


def _compare(run: Run, reporter: Reporter) -> None:
    """Ask base and tuned model what the settings ask, where that is still to be done."""
    questions = look(run.path).spec.evaluation.compare
    if questions and run.record["status"] == "succeeded" and not (run.path / page.COMPARISON).is_file():
        reporter.event("Asking the base and the tuned model the same questions")
        compare(run.path, questions)


def _inputs(setup: Setup) -> dict[str, str]:
    """Name → fingerprint of what a run learns from and starts from."""
    record = setup.record
    data = {f"{part} data {i + 1}": d["sha256"] for part in ("train", "validation") for i, d in enumerate(record["data"][part])}
    start = {"the adapter it goes on from": record["model"]["start"]} if "start" in record["model"] else {}
    return {"the model": record["model"]["fingerprint"], **start, "the tokenizer or chat template": record["renderer"], **data}


def prepare_again(
    run: RunFolder, into: RunFolder, say: Callable[[str], None], progress: Progress = untold, world: World = ALONE, **settings: Any
) -> Setup:
    """The setup of a run that has begun, as it was then. `into`: where what comes next is written. `settings`: over the run's own."""
    start = read_json(run.path / "start.json")
    spec = load_run(str(run.run_file), **settings)
    then = start["dtype"]
    dtype = devices.DtypeChoice(getattr(torch, then["chosen"]), then["bfloat16_gflops"], then["float32_gflops"])
    return prepare(spec, into, say, datetime.fromisoformat(start["started"]), dtype, progress, world)


def _validation_of_result(validations: list[dict[str, Any]], progress: checkpoint.Progress) -> dict[str, Any] | None:
    """That of the weights which the run leaves: the last, or the best where it stopped early and took those back."""
    wanted = progress.best_step if progress.stopped_early else None
    return next((v for v in reversed(validations) if wanted is None or v["step"] == wanted), None)


def _place(spec: RunSpec, now: datetime | None) -> tuple[datetime, Path]:
    """When a run begins, and the folder it goes into."""
    started = now or datetime.now().replace(microsecond=0)
    return started, _new_folder(spec, started)


def _new_folder(spec: RunSpec, started: datetime) -> Path:
    if spec.out is not None:
        return Path(spec.out)
    if not spec.data.train:
        raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
    stem = Path(spec.data.train[0].path).name.split(".")[0]
    method = Path(spec.method.name).stem
    path = Path("runs") / f"{started:%Y-%m-%d-%H%M%S}-{method}-{stem}"
    number = 2
    while path.exists():
        path, number = path.with_name(f"{path.name.split('~')[0]}~{number}"), number + 1
    return path


def _run(setup: Setup, reporter: Reporter) -> Run:
    """The loop, and the record of how it ended, whatever happens. Of several processes the first writes it, and the result."""
    stop, world = StopSignal(), setup.world
    began = time.perf_counter()
    if world.is_first:
        reporter = Several(reporter, *trackers(setup.spec.report, setup.folder.path))
    loop = Loop(setup, reporter, stop)
    try:
        with stop.listening(), telling_of_the_lost(world):
            outcome = loop.run()
            difference = None
            if outcome.status == "succeeded":
                weights = loop.masters.whole(loop.masters.values())
                with setup.alone() as first:
                    difference = world.once(lambda: _leave(first, weights, reporter))
    except UserError as error:
        if world.is_first:
            with suppress(RunError):  # a disk that is full cannot hold this either; the error itself is raised
                setup.folder.event("failed", str(error), step=loop.progress.step)
                write_json(setup.folder.record_file, _record(setup, Outcome("failed", loop.progress), began, None, str(error)))
        reporter.ended("failed")
        raise
    world.once(lambda: write_json(setup.folder.record_file, _record(setup, outcome, began, difference, None)))
    return Run(setup.folder.path)


def _leave(setup: Setup, weights: dict[str, Tensor], reporter: Reporter) -> float:
    """Write what the run leaves to be used; how far it is from what was trained, once loaded again."""
    difference = write_artefact(setup, weights)
    if setup.makes_reward_model:
        reporter.event("Measuring the reward model on judgements it has not seen")
        setup.record.update(judged(setup))
    return difference


def _record(setup: Setup, outcome: Outcome, began: float, reload_difference: float | None, reason: str | None) -> dict[str, Any]:
    """`record.json`: what page, card and gate read."""
    folder, progress = setup.folder, outcome.progress
    validations = [line for line in read_lines(folder.metrics_file) if line["kind"] == "validation"]
    not_exact = [e["message"] for e in read_lines(folder.events_file) if e["kind"] == "not_bit_exact"]
    start = read_json(folder.path / "start.json")
    return {
        "started": start["started"],
        "status": outcome.status,
        "reason": reason,
        "method": setup.spec.method.name,
        "adapter": setup.spec.adapter.name,
        "run_file": checkpoint.sha256(folder.run_file),
        **setup.record,
        "seed": setup.spec.train.seed,
        "steps": progress.step,
        "tokens": progress.num_tokens,
        "stopped_early": progress.stopped_early,
        "alarm": progress.alarm,
        "certificate": progress.certificate,
        "certificate_tolerance": setup.spec.certificate.tolerance,
        "evaluation": {
            "before": validations[0] if validations else None,
            "after": _validation_of_result(validations, progress),
            "best_step": progress.best_step,
            "best_loss": progress.best_loss,
        },
        "artefact": {"reload_difference": reload_difference, "files": artefact_hashes(folder) if outcome.status == "succeeded" else {}},
        "training_seconds": round(progress.seconds, 3),
        "tokens_per_second": round(progress.num_tokens / progress.seconds, 1) if progress.seconds else None,
        "seconds": round(time.perf_counter() - began, 3),
        "peak_memory_bytes": devices.peak_bytes(setup.device),
        "energy_wh_estimated": round(progress.energy_wh, 4),
        "token_budget": progress.token_budget,
        "bit_exact": not not_exact,
        "not_bit_exact_because": not_exact,
        "parent": start.get("parent"),
    }


def artefact_hashes(folder: RunFolder) -> dict[str, str]:
    """Path in the run folder → SHA-256, of every file of its adapter or model."""
    return {
        str(path.relative_to(folder.path)): checkpoint.sha256(path)
        for part in (folder.adapter, folder.model)
        if part.is_dir()
        for path in sorted(part.rglob("*"))
        if path.is_file()
    }
