"""Look at this machine: what is here, what is missing, and what would be faster."""

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli._machine import (
    GIB,
    Disk,
    Gpu,
    Kept,
    Memory,
    Processor,
    read_disk,
    read_gpus,
    read_kept,
    read_memory,
    read_packages,
    read_processor,
)
from luthier.data.cache import SURVEYS, TOKENS, Cache

SECTION = "Start here"

STARTER = Path(__file__).resolve().parent.parent / "starter"
LOW_DISK_GIB = 5.0


@dataclass(frozen=True)
class Torch:
    """What torch itself says, where it can be imported."""

    threads: int | None = None
    accelerator: str | None = None
    """Kind of the accelerator it can compute on; None: only the CPU."""
    error: str | None = None
    """Why it could not be imported though it is installed."""


@dataclass(frozen=True)
class Facts:
    system: str
    python: str
    processor: Processor
    memory: Memory
    gpus: tuple[Gpu, ...]
    packages: dict[str, str | None]
    torch: Torch
    disk: Disk
    tokens: Kept
    """Token ids of data files that were encoded before."""
    starter: bool
    """Whether the model that comes with Luthier lies where it should."""


@dataclass(frozen=True)
class Advice:
    text: str
    command: str | None = None
    problem: bool = False
    """True where something does not work without it; False where something could be better, or is only good to know."""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Remove the token ids that were kept of data files; nothing else.")
    ] = False,
) -> None:
    """Look at this machine: what is here, what is missing, and what would be faster.

    Works without torch, and changes nothing but what it is told to clear.
    """
    if clear_cache:
        _clear_cache(as_json)
        return
    facts = look()
    if as_json:
        typer.echo(json.dumps({**asdict(facts), "advice": [asdict(item) for item in advise(facts)]}, indent=2, ensure_ascii=False))
    else:
        show(facts, advise(facts))


def _clear_cache(as_json: bool) -> None:
    before = read_kept(os.environ)
    freed = sum(Cache.of_user(name, os.environ).clear() for name in (TOKENS, SURVEYS))
    if as_json:
        typer.echo(json.dumps({"folder": before.folder, "files": before.num_files, "freed_bytes": freed}))
    else:
        what = f"the token ids of {_plural(before.num_files, 'data file')}, {_size(freed / GIB)}," if before.num_files else "nothing"
        typer.echo(f"Removed {what} from {before.folder}.")


def look() -> Facts:
    packages = read_packages()
    return Facts(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_version()} ({sys.executable})",
        processor=read_processor(),
        memory=read_memory(),
        gpus=read_gpus(),
        packages=packages,
        torch=_ask_torch() if packages["torch"] else Torch(),
        disk=read_disk(Path.cwd()),
        tokens=read_kept(os.environ),
        starter=(STARTER / "config.json").is_file(),
    )


def _ask_torch() -> Torch:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        return Torch(error=str(error).partition("\n")[0])
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return Torch(threads=torch.get_num_threads(), accelerator=None if accelerator is None else accelerator.type)


def advise(facts: Facts) -> list[Advice]:
    """What to do about the facts, problems first."""
    advice = [*_about_torch(facts), *_about_gpus(facts), *_about_dtype(facts), *_about_room(facts)]
    return sorted(advice, key=lambda item: not item.problem)


def _about_torch(facts: Facts) -> Iterable[Advice]:
    if facts.packages["torch"] is None or facts.packages["transformers"] is None:
        text = "Training and answering need torch and transformers, which are not both installed."
        yield Advice(text, "pip install 'luthier[train]'", problem=True)
    if facts.torch.error is not None:
        text = f"torch is installed but cannot be imported: {facts.torch.error}"
        yield Advice(text, "pip install --force-reinstall 'luthier[train]'", problem=True)
    if not facts.starter:
        text = "The starter model is missing from this installation, so `luthier demo` has nothing to start from."
        yield Advice(text, "pip install --force-reinstall --no-deps luthier", problem=True)


def _about_gpus(facts: Facts) -> Iterable[Advice]:
    torch_version = facts.packages["torch"]
    if not facts.gpus or torch_version is None or facts.torch.error is not None:
        return
    names = ", ".join(f"{gpu.vendor} {gpu.name}".replace("NVIDIA NVIDIA", "NVIDIA") for gpu in facts.gpus)
    if facts.torch.accelerator is not None:
        yield Advice(f"torch sees {names} and can compute on it.")
        return
    vendor, (plain_version, _, build) = facts.gpus[0].vendor, torch_version.partition("+")
    if vendor == "AMD":
        yield Advice(f"{names} is here but unused: it needs the ROCm build of torch {plain_version}, from pytorch.org/get-started.")
    elif build == "cpu":
        reinstall = f"pip install --force-reinstall torch=={plain_version}"
        yield Advice(f"{names} is here but unused: this torch ({torch_version}) is built for CPUs only.", reinstall)
    else:
        yield Advice(f"{names} is here but torch {torch_version} cannot reach it: look at its driver.", "nvidia-smi")


def _about_dtype(facts: Facts) -> Iterable[Advice]:
    if facts.torch.accelerator is not None:
        return
    processor = facts.processor
    if processor.isa_limit is not None and processor.has_bf16:
        text = f"ONEDNN_MAX_CPU_ISA={processor.isa_limit} keeps torch from this processor's bf16 instructions."
        yield Advice(text, "unset ONEDNN_MAX_CPU_ISA")
    elif processor.has_bf16:
        yield Advice("bf16 has instructions of its own here, so it is likely faster than fp32; `train.dtype=auto` measures, then chooses.")
    else:
        yield Advice("bf16 has no instructions of its own here, so fp32 is likely faster; `train.dtype=auto` measures, then chooses.")


def _about_room(facts: Facts) -> Iterable[Advice]:
    if facts.disk.free_gib < LOW_DISK_GIB:
        text = f"Only {facts.disk.free_gib:.1f} GiB are free on the disk of {facts.disk.path}, where runs would be written."
        yield Advice(text + " Free some, or give runs another place.", "luthier train … out=FOLDER", problem=facts.disk.free_gib < 0.5)
    if facts.memory.limit_gib is not None:
        yield Advice(f"This container may use {facts.memory.limit_gib:.1f} of the machine's {facts.memory.total_gib:.1f} GiB of memory.")
    threads = facts.torch.threads
    if threads is not None and threads < int(facts.processor.usable_cores):
        text = f"torch computes on {threads} of {facts.processor.usable_cores:g} cores; OMP_NUM_THREADS may be set."
        yield Advice(text, f"luthier train … train.threads={int(facts.processor.usable_cores)}")


def show(facts: Facts, advice: list[Advice]) -> None:
    """Print facts and advice for a person."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, escape(value))
    console.print(table)
    console.print()
    for item in advice:
        sign = "[bold red]✗[/]" if item.problem else "[bold cyan]→[/]"
        console.print(sign, escape(item.text), soft_wrap=True, highlight=False)
        if item.command is not None:
            console.print("    ", f"[bold]{escape(item.command)}[/]", soft_wrap=True, highlight=False)
    if not any(item.problem for item in advice):
        console.print("[bold green]✓[/] Ready. Next:  [bold]luthier demo[/]", highlight=False)


def _rows(facts: Facts) -> list[tuple[str, str]]:
    processor, memory, torch = facts.processor, facts.memory, facts.torch
    installed = [f"{name} {found}" for name, found in facts.packages.items() if found]
    missing = [name for name, found in facts.packages.items() if not found]
    rows = [
        ("System", facts.system),
        ("Processor", f"{processor.model}, {_plural(processor.cores, 'core')}, {processor.usable_cores:g} usable"),
        ("Instructions", ", ".join(processor.instruction_sets) or "none that speed matrix products up"),
        ("Memory", f"{memory.total_gib:.1f} GiB, {memory.available_gib:.1f} available"),
        ("Graphics", "; ".join(f"{gpu.vendor}: {gpu.name}" for gpu in facts.gpus) or "none found"),
        ("torch uses", _torch_uses(torch)),
        ("Disk", f"{facts.disk.free_gib:.0f} of {facts.disk.total_gib:.0f} GiB free at {facts.disk.path}"),
        ("Token ids", _kept(facts.tokens)),
        ("Python", facts.python),
        ("Packages", ", ".join(installed)),
        ("Not installed", ", ".join(missing)),
        ("Starter model", "here" if facts.starter else "missing"),
    ]
    return [row for row in rows if row[1]]


def _torch_uses(torch: Torch) -> str:
    if torch.threads is None:
        return "nothing yet"
    threads = _plural(torch.threads, "thread")
    return f"the CPU, {threads}" if torch.accelerator is None else f"{torch.accelerator}, and {threads} of the CPU"


def _kept(tokens: Kept) -> str:
    if not tokens.limit_gib:
        return "not kept (LUTHIER_CACHE_GIB is 0)"
    files = f"of {_plural(tokens.num_files, 'data file')}, {_size(tokens.gib)}" if tokens.num_files else "none yet"
    return f"{files} (at most {tokens.limit_gib:g} GiB), at {tokens.folder}"


def _size(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 1 else f"{1024 * gib:.1f} MiB"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
