"""What this machine is, found without torch: processor, memory, graphics, disk, packages."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from luthier.data.cache import TOKENS, Cache

GIB = 2**30

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "bf16": "ARM-BF16",
    "sve": "SVE",
}
"""Flags of /proc/cpuinfo that decide how fast matrix products are, and what people call them."""

BF16_SETS = frozenset({"AVX512-BF16", "AMX-BF16", "ARM-BF16"})
"""With any of these the CPU multiplies bf16 matrices in its own instructions."""

ISA_WITH_BF16 = ("BF16", "FP16", "AMX", "ALL", "DEFAULT")
"""How the values of `ONEDNN_MAX_CPU_ISA` end that leave bf16 instructions on."""

GPU_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD"}
"""PCI vendors whose graphics cards torch can compute on."""

PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "pydantic", "pyarrow"),
    *("matplotlib", "codecarbon", "peft", "tensorboard", "wandb", "mlflow-skinny"),
)
"""Whose versions matter for what a run computes or writes."""


@dataclass(frozen=True)
class Processor:
    model: str
    cores: int
    """Physical."""
    usable_cores: float
    """What this process may use: its affinity and its container's quota."""
    instruction_sets: tuple[str, ...]
    isa_limit: str | None
    """`ONEDNN_MAX_CPU_ISA`, where it keeps torch from the bf16 instructions."""

    @property
    def has_bf16(self) -> bool:
        return bool(BF16_SETS & set(self.instruction_sets))


@dataclass(frozen=True)
class Memory:
    total_gib: float
    available_gib: float
    limit_gib: float | None
    """The container's limit, where it is below `total_gib`."""


@dataclass(frozen=True)
class Gpu:
    vendor: str
    name: str


@dataclass(frozen=True)
class Kept:
    """Token ids that are kept in the user's cache."""

    folder: str
    num_files: int
    gib: float
    limit_gib: float


@dataclass(frozen=True)
class Disk:
    path: str
    free_gib: float
    total_gib: float


def read_processor(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Processor:
    """`root` is where /proc and /sys are looked for; `environment` holds oneDNN's limit."""
    lines = _lines(root / "proc/cpuinfo")
    limit = environment.get("ONEDNN_MAX_CPU_ISA")
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines) if value}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Processor(
        model=fields.get("model name") or _mac_processor() or platform.processor() or platform.machine(),
        cores=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        usable_cores=_usable_cores(root),
        instruction_sets=tuple(name for flag, name in INSTRUCTION_SETS.items() if flag in flags),
        isa_limit=None if not limit or limit.upper().endswith(ISA_WITH_BF16) else limit,
    )


def read_memory(root: Path = Path("/")) -> Memory:
    memory = psutil.virtual_memory()
    limit = " ".join(_lines(root / "sys/fs/cgroup/memory.max"))
    limited = limit.isdigit() and int(limit) < memory.total
    return Memory(memory.total / GIB, memory.available / GIB, int(limit) / GIB if limited else None)


def read_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Cards in this machine, whether or not a driver, or torch, sees them."""
    named = [Gpu("NVIDIA", name) for name in _nvidia_names(root)]
    on_the_bus = [gpu for device in sorted((root / "sys/bus/pci/devices").glob("*")) if (gpu := _pci_gpu(device)) is not None]
    others = [gpu for gpu in on_the_bus if not (named and gpu.vendor == "NVIDIA")]
    apple = [Gpu("Apple", _mac_processor() or "Apple silicon")] if (platform.system(), platform.machine()) == ("Darwin", "arm64") else []
    return (*named, *others, *apple)


def gpu_memory() -> tuple[float, ...]:
    """GiB of each of NVIDIA's cards that this process may use; none where its tool is missing."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None and shown.strip() in ("", "-1"):
        return ()
    chosen = [f"--id={shown}"] if shown else []
    lines = _command_lines("nvidia-smi", *chosen, "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return tuple(int(line) / 1024 for line in lines if line.isdigit())


def read_kept(environment: Mapping[str, str]) -> Kept:
    cache = Cache.of_user(TOKENS, environment)
    return Kept(str(cache.folder), cache.num_entries, cache.size_bytes / GIB, cache.limit_bytes / GIB)


def read_disk(path: Path) -> Disk:
    usage = shutil.disk_usage(path)
    return Disk(str(path), usage.free / GIB, usage.total / GIB)


def read_packages() -> dict[str, str | None]:
    """Version of each of `PACKAGES`; None where it is not installed. Imports none of them."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _usable_cores(root: Path) -> float:
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota, _, period = " ".join(_lines(root / "sys/fs/cgroup/cpu.max")).partition(" ")
    return min(allowed, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else allowed


def _nvidia_names(root: Path) -> list[str]:
    """From the driver's own files; where there are none (WSL), from its tool."""
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = [line.partition(":")[2].strip() for file in files for line in _lines(file) if line.startswith("Model:")]
    if names or root != Path("/"):
        return names
    return _command_lines("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _pci_gpu(device: Path) -> Gpu | None:
    """A display controller (class 03) or processing accelerator (class 12) of a vendor that torch computes on."""
    vendor = GPU_VENDORS.get(" ".join(_lines(device / "vendor")))
    kind = " ".join(_lines(device / "class"))
    if vendor is None or not kind.startswith(("0x03", "0x12")):
        return None
    return Gpu(vendor, f"PCI device {device.name}, model {' '.join(_lines(device / 'device')) or 'unknown'}")


def _mac_processor() -> str:
    return " ".join(_command_lines("sysctl", "-n", "machdep.cpu.brand_string")) if platform.system() == "Darwin" else ""


def _command_lines(*command: str) -> list[str]:
    """What a system tool prints; nothing where it is missing or fails, which here means that there is nothing to report."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
