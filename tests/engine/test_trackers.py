"""What other tools read back from a run folder, with their own readers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.engine.trackers import MLflow, TensorBoard, WeightsAndBiases, require
from luthier.errors import SettingsError
from luthier.spec.run import ReportSpec

STEPS = [{"step": 1.0, "loss": 2.5, "grad_norm": 0.5}, {"step": 2.0, "loss": 2.25, "grad_norm": 0.25}]


def _report(tracker: TensorBoard | WeightsAndBiases | MLflow) -> None:
    for metrics in STEPS:
        tracker.step(metrics, 0.0)
    tracker.validated(2, {"loss": 2.0}, True)
    tracker.ended("succeeded")


def test_tensorboard_reads_the_losses(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    _report(TensorBoard(tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 2.5), (2, 2.25)]
    assert [(e.step, e.value) for e in events.Scalars("validation/loss")] == [(2, 2.0)]


def test_mlflow_reads_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("mlflow.tracking", reason="mlflow is not installed")
    tracker = MLflow(tmp_path)
    _report(tracker)
    history = tracker.client.get_metric_history(tracker.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.5), (2, 2.25)]
    assert tracker.client.get_run(tracker.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_weights_and_biases_reads_the_losses(tmp_path: Path) -> None:
    """Slow: it starts a process of its own."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")
    _report(WeightsAndBiases(tmp_path))
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    for _ in range(100):  # W&B's own process writes the file; it is done when it has written the exit record
        found = [_parsed(messages, data) for data in _records(path.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            break
        time.sleep(0.1)
    items = [item for record in found for item in record.history.item]
    assert [float(i.value_json) for i in items if (i.key or "/".join(i.nested_key)) == "train/loss"] == [2.5, 2.25]


def _parsed(messages: Any, data: bytes) -> Any:
    record = messages.Record()
    record.ParseFromString(data)
    return record


def _records(log: bytes) -> Iterator[bytes]:
    """The records of a W&B transaction log: after 7 bytes LevelDB's log format (blocks of 32 KiB; crc, length and kind precede a part)."""
    at, parts = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:  # too little room for a header: the rest of the block is padding
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_a_tool_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"`report.wandb` needs the package wandb.*pip install"):
        require(ReportSpec(wandb=True))
    require(ReportSpec())
