"""A million kept rows are open, in order and in tensors within half a second."""

from pathlib import Path

import pytest
from benchmarks.opening import conversations, first_micro_batch, keep, setting_aside

from luthier.data.cache import Cache
from luthier.models.load import model_folder
from luthier.spec.run import ModelSpec
from luthier.text.renderer import Renderer


def kept(folder: Path, sample: int, rows: int) -> Cache:
    cache, renderer = Cache(folder / "tokens", 2**40), Renderer.load(model_folder(ModelSpec()))
    keep(cache, "made", conversations(sample, renderer), renderer, rows)
    return cache


def test_every_stage_is_measured(tmp_path: Path):
    watch = first_micro_batch(kept(tmp_path, 10, 60), "made")
    assert watch.passed.keys() == watch.computed.keys() >= {"open and check", "order of the epoch", "first stream"}
    assert all(seconds > 0 for seconds in watch.passed.values())


@pytest.mark.slow
def test_a_million_rows_are_open_within_half_a_second(tmp_path: Path):
    """0.12 s on one core. What this process computes is looked at, and the best of five, because others use the machine too."""
    cache = kept(tmp_path, 500, 1_000_000)
    watches = [first_micro_batch(cache, "made") for _ in range(5)]
    assert min(sum(watch.computed.values()) for watch in watches) < 0.5, [watch.computed for watch in watches]
    assert min(sum(setting_aside(cache, "made").computed.values()) for _ in range(3)) < 0.5
