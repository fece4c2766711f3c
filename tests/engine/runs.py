"""Small real runs: their settings, and processes of their own in which to be killed."""

import contextlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from luthier.recipes.run import Run
from luthier.spec.run import RunSpec
from luthier.testing import toy_conversations, write_jsonl


def spec_of(model: Path, rows: Path, out: Path, **settings: Any) -> RunSpec:
    """6 steps of LoRA in fp32 over 8 rows, 4 rows a step; `settings`: `train={"epochs": 2}` goes over that section; an adapter replaces."""
    sections: dict[str, Any] = {
        "model": {"path": str(model)},
        "data": {"train": str(rows)},
        "adapter": {"name": "lora", "rank": 4},
        "optimizer": {"learning_rate": 0.01, "warmup_share": 0.0},
        "train": {"epochs": 3, "batch_size": 4, "dtype": "float32"},
        "evaluation": {"prompts": ()},
        "out": str(out),
    }
    for name, section in settings.items():
        merged = name != "adapter" and isinstance(section, dict) and isinstance(sections.get(name), dict)
        sections[name] = {**sections[name], **section} if merged else section
    return RunSpec.model_validate(sections)


def two_sets(folder: Path) -> dict[str, Any]:
    """Two data sets that are mixed, one twice as often and one every other time."""
    rows = toy_conversations(10)
    first, second = write_jsonl(folder / "first.jsonl", rows[:5]), write_jsonl(folder / "second.jsonl", rows[5:])
    return {"train": [{"path": str(first), "weight": 2}, {"path": str(second), "weight": 0.5}], "validation_share": 0.2}


def steps_of(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.metrics if line["kind"] == "train"]


def weights_of(run: Run) -> bytes:
    """The bytes of what the run left to be used."""
    for path in (run.path / "adapter/adapter_model.safetensors", run.path / "model/model.safetensors"):
        if path.is_file():
            return path.read_bytes()
    raise AssertionError(f"{run.path} left nothing")


def start(work: Callable[[], object]) -> int:
    """The id of a process of its own that does `work` and exits: 0, or 1 after an exception, which it prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn where a process with threads forks
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        # A forked process makes torch's thread pool anew at its first use. Two threads of transformers' loader may both be the first, and
        # one of them then finds none: here, where there is one thread, it is made in peace.
        torch.set_num_threads(torch.get_num_threads())
        work()
        code = 0
    except BaseException:  # noqa: BLE001 (the process ends here, and says why)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end_of(child: int, timeout_s: float = 60) -> int:
    """How a process ended: its exit code, or minus the number of the signal."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the process did not end within {timeout_s} s")


def killed_after(seconds: float, work: Callable[[], object]) -> int:
    """`work` in a process of its own that is killed after a while; how it ended."""
    child = start(work)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return end_of(child)
