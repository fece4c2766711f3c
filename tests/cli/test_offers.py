"""What a worker says that it has."""

from pathlib import Path

import pytest

from luthier.cli._machine import GIB, gpu_memory, read_memory
from luthier.cli._offers import offers

TOOL = """#!/bin/sh
case "$*" in *--id=1*) ;; *) echo 81559 ;; esac
echo 40960
"""


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with NVIDIA's tool, which tells of cards of 81,559 and 40,960 MiB."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_memory_of_the_smallest_card_and_as_many_devices(two_cards: None, monkeypatch: pytest.MonkeyPatch):
    found = offers()
    assert (found["memory_bytes"], found["devices"]) == (40 * GIB, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_memory() == (40.0,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_memory() == ()


def test_without_a_card_that_of_the_machine_and_what_is_allowed_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    memory = read_memory()
    found = offers()
    assert found["memory_bytes"] == pytest.approx(min(memory.total_gib, memory.limit_gib or memory.total_gib) * GIB, rel=0.01)
    assert "sft" in found["method"] and "tune" in found["kind"] and isinstance(found["sandbox"], bool) and found["devices"] >= 1
    assert offers(2.5)["memory_bytes"] == int(2.5 * GIB)
