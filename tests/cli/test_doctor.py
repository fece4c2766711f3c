"""`luthier doctor`: what it finds in a machine made of files, and what it advises."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.cli._machine import Disk, Gpu, Kept, Memory, Processor, read_gpus, read_memory, read_processor
from luthier.cli.doctor import Advice, Facts, Torch, advise, show
from luthier.cli.main import run
from luthier.data.cache import TOKENS, Cache

HEALTHY = Facts(
    system="Linux 6.1 x86_64",
    python="3.11.7 (/usr/bin/python3)",
    processor=Processor("A CPU", cores=4, usable_cores=4, instruction_sets=("AVX2", "AVX512-BF16"), isa_limit=None),
    memory=Memory(total_gib=16, available_gib=12, limit_gib=None),
    gpus=(),
    packages={"torch": "2.13.0+cpu", "transformers": "5.23.0", "mlflow": None},
    torch=Torch(threads=4),
    disk=Disk("/home", free_gib=100, total_gib=200),
    tokens=Kept("/home/.cache/luthier/tokens", num_files=2, gib=1.5, limit_gib=20),
    starter=True,
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def the_advice(facts: Facts, word: str) -> Advice:
    """The one advice that has `word` in it."""
    (found,) = [item for item in advise(facts) if word in item.text]
    return found


def test_a_healthy_machine_has_no_problem():
    assert [item for item in advise(HEALTHY) if item.problem] == []


def test_without_torch_it_says_how_to_install_it():
    facts = replace(HEALTHY, packages={"torch": None, "transformers": None}, torch=Torch())
    assert advise(facts)[0] == Advice(
        "Training and answering need torch and transformers, which are not both installed.", "pip install 'luthier[train]'", problem=True
    )


def test_a_gpu_under_a_cpu_build_is_named_with_the_command_that_would_use_it():
    advice = the_advice(replace(HEALTHY, gpus=(Gpu("NVIDIA", "NVIDIA L4"),)), "unused")
    assert advice.text == "NVIDIA L4 is here but unused: this torch (2.13.0+cpu) is built for CPUs only."
    assert advice.command == "pip install --force-reinstall torch==2.13.0"


def test_a_gpu_that_torch_was_built_for_but_cannot_reach_points_at_the_driver():
    facts = replace(HEALTHY, gpus=(Gpu("NVIDIA", "L4"),), packages={**HEALTHY.packages, "torch": "2.13.0+cu130"})
    assert the_advice(facts, "cannot reach").command == "nvidia-smi"


def test_a_gpu_in_use_is_no_reason_for_commands():
    facts = replace(HEALTHY, gpus=(Gpu("NVIDIA", "L4"),), torch=Torch(threads=4, accelerator="gpu"))
    assert [item.command for item in advise(facts)] == [None]


def test_dtype_advice_follows_the_instructions():
    without = replace(HEALTHY, processor=replace(HEALTHY.processor, instruction_sets=("AVX2",)))
    limited = replace(HEALTHY, processor=replace(HEALTHY.processor, isa_limit="AVX2"))
    assert "likely faster than fp32" in the_advice(HEALTHY, "bf16").text
    assert "fp32 is likely faster" in the_advice(without, "bf16").text
    assert the_advice(limited, "bf16").command == "unset ONEDNN_MAX_CPU_ISA"


@pytest.mark.parametrize("free, problem", [(4.0, False), (0.1, True)])
def test_a_full_disk_is_named(free: float, problem: bool):
    assert the_advice(replace(HEALTHY, disk=Disk("/home", free, 200)), "free").problem is problem


def test_problems_come_first_and_unused_cores_are_named():
    facts = replace(HEALTHY, starter=False, torch=Torch(threads=1), memory=Memory(16, 12, limit_gib=8))
    assert [item.problem for item in advise(facts)] == [True, False, False, False]
    assert the_advice(facts, "1 of 4 cores").command == "luthier train … train.threads=4"
    assert "8.0 of the machine's 16.0 GiB" in the_advice(facts, "container").text


def test_the_processor_is_read_from_proc(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile amx_bf16\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
        },
    )
    processor = read_processor(root, environment={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert processor.model == "Some CPU @ 2GHz"
    assert processor.instruction_sets == ("AVX2", "AVX-512", "AVX512-BF16", "AMX-BF16", "AMX")
    assert processor.usable_cores == 0.5
    assert (processor.has_bf16, processor.isa_limit) == (True, "AVX2")
    assert read_processor(root, environment={"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}).isa_limit is None


@pytest.mark.parametrize("text, limit", [("1073741824\n", 1.0), ("max\n", None)])
def test_a_container_limits_memory(tmp_path: Path, text: str, limit: float | None):
    assert read_memory(write(tmp_path, {"sys/fs/cgroup/memory.max": text})).limit_gib == limit


def test_graphics_cards_are_found_on_the_bus_without_a_driver(tmp_path: Path):
    bus = "sys/bus/pci/devices"
    root = write(
        tmp_path,
        {
            f"{bus}/0000:01:00.0/vendor": "0x10de\n",
            f"{bus}/0000:01:00.0/class": "0x030200\n",
            f"{bus}/0000:01:00.0/device": "0x27b8\n",
            f"{bus}/0000:01:00.1/vendor": "0x10de\n",  # its sound output
            f"{bus}/0000:01:00.1/class": "0x040300\n",
            f"{bus}/0000:02:00.0/vendor": "0x1234\n",  # a virtual screen
            f"{bus}/0000:02:00.0/class": "0x030000\n",
            f"{bus}/0000:03:00.0/vendor": "0x1002\n",
            f"{bus}/0000:03:00.0/class": "0x120000\n",
        },
    )
    assert read_gpus(root) == (
        Gpu("NVIDIA", "PCI device 0000:01:00.0, model 0x27b8"),
        Gpu("AMD", "PCI device 0000:03:00.0, model unknown"),
    )


def test_the_driver_names_the_card_once(tmp_path: Path):
    card = "0000:01:00.0"
    root = write(
        tmp_path,
        {
            f"proc/driver/nvidia/gpus/{card}/information": "Model: \t\t NVIDIA L4\nIRQ:   \t\t 58\n",
            f"sys/bus/pci/devices/{card}/vendor": "0x10de\n",
            f"sys/bus/pci/devices/{card}/class": "0x030200\n",
        },
    )
    assert read_gpus(root) == (Gpu("NVIDIA", "NVIDIA L4"),)


def test_json_is_one_value_that_a_program_reads(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processor"]["cores"] >= 1
    assert found["packages"]["torch"].startswith("2.13.0")
    assert found["torch"]["threads"] == 1  # as tests/conftest.py asks for
    assert all(set(item) == {"text", "command", "problem"} for item in found["advice"])


def test_it_works_where_torch_is_not_installed(tmp_path: Path):
    """Packages that need torch are hidden from a real interpreter: what remains is what `pip install luthier` brings."""
    program = (
        "import importlib.metadata as metadata, sys\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'transformers'): raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from luthier.cli.main import main\n"
        "main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install 'luthier[train]'" in done.stdout
    assert "torch uses      nothing yet" in done.stdout


def test_the_page_shows_every_fact_and_advice(capsys: pytest.CaptureFixture[str]):
    show(HEALTHY, [Advice("Something [odd] is here.", "mend it", problem=True)])
    page = capsys.readouterr().out
    for fact in (
        "A CPU, 4 cores, 4 usable",
        "AVX2, AVX512-BF16",
        "16.0 GiB",
        "the CPU, 4 threads",
        "100 of 200 GiB",
        "torch 2.13.0+cpu",
        "mlflow",
    ):
        assert fact in page
    assert "✗ Something [odd] is here." in page
    assert "mend it" in page
    assert "Ready" not in page


def test_what_is_kept_of_data_files_is_shown(capsys: pytest.CaptureFixture[str]):
    show(HEALTHY, [])
    show(replace(HEALTHY, tokens=Kept("/c", 0, 0.0, 20.0)), [])
    show(replace(HEALTHY, tokens=Kept("/c", 0, 0.0, 0.0)), [])
    out = capsys.readouterr().out
    assert "of 2 data files, 1.5 GiB (at most 20 GiB), at /home/.cache/luthier/tokens" in out
    assert "none yet (at most 20 GiB), at /c" in out and "not kept (LUTHIER_CACHE_GIB is 0)" in out


def test_the_cache_is_cleared_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    (tmp_path / "mine.txt").write_text("stays", encoding="utf-8")
    with Cache.of_user(TOKENS, os.environ).making("a") as writer:
        writer.append("ids", np.zeros(2**18, np.int32))
    for said in ("the token ids of 1 data file, 1.0 MiB,", "nothing"):
        assert run(["doctor", "--clear-cache"]) == 0
        assert capsys.readouterr().out == f"Removed {said} from {tmp_path / 'tokens'}.\n"
    assert run(["doctor", "--clear-cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path / "tokens"), "files": 0, "freed_bytes": 0}
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "stays"
