"""Devices and types: the only place, with `engine/sharding.py`, that names an accelerator."""

import ctypes
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil
import torch

PROBE_S = 0.1
"""Seconds given to each type."""

PROBE_TOKENS = 512

PRIMITIVES = 128
"""Compiled matrix products that oneDNN keeps: those of several steps."""


@dataclass(frozen=True)
class DtypeChoice:
    """The type of the computation, and what was measured (GFLOP/s; None where nothing was)."""

    dtype: torch.dtype
    bfloat16_gflops: float | None = None
    float32_gflops: float | None = None

    @property
    def gflops(self) -> float | None:
        """Measured speed of the chosen type."""
        return self.bfloat16_gflops if self.dtype == torch.bfloat16 else self.float32_gflops


def default_device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def choose_dtype(setting: str, width: int, inner: int, device: torch.device) -> DtypeChoice:
    """`auto`: the faster of bf16 and fp32 at a product of the model's own shape, (512, width) × (width, inner)."""
    if setting != "auto":
        return DtypeChoice(getattr(torch, setting))
    speed = {dtype: _gflops(dtype, width, inner, device) for dtype in (torch.bfloat16, torch.float32)}
    faster = max(speed, key=lambda dtype: speed[dtype])
    return DtypeChoice(faster, round(speed[torch.bfloat16], 1), round(speed[torch.float32], 1))


def _gflops(dtype: torch.dtype, width: int, inner: int, device: torch.device) -> float:
    a = torch.randn(PROBE_TOKENS, width, device=device).to(dtype)
    b = torch.randn(inner, width, device=device).to(dtype)
    best, started = float("inf"), time.perf_counter()
    torch.nn.functional.linear(a, b)
    while time.perf_counter() - started < PROBE_S:
        begin = time.perf_counter()
        torch.nn.functional.linear(a, b).sum().item()
        best = min(best, time.perf_counter() - begin)
    if best == float("inf"):  # one product took longer than the whole probe
        best = time.perf_counter() - started
    return 2 * PROBE_TOKENS * width * inner / best / 1e9


def compute_deterministically() -> None:
    """The same bits from the same inputs, in this process."""
    torch.use_deterministic_algorithms(True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # what is allocated here is written before it is read; filling it costs 8 %


def bound_compiled_products() -> None:
    """Keep few of oneDNN's compiled products, where the environment does not say how many. Before the first product in bf16.

    Streams have ever new lengths, and by default each of 1,024 products of either cache would stay, with its buffers: a model of 3 million
    parameters grew from 0.7 to 1.4 GB in 48 steps, and to 1.9 GB in 256.
    """
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, str(PRIMITIVES))


def available_bytes() -> int:
    """Memory that can still be taken without swapping."""
    return int(psutil.virtual_memory().available)


def total_bytes() -> int:
    """Memory of the machine."""
    return int(psutil.virtual_memory().total)


def return_freed_memory() -> None:
    """Hand what was freed back to the system. glibc keeps it, so that a process is, for its neighbours, as large as it ever was."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's own
        trim(0)


def token_budget(given: int | None, device: torch.device) -> int:
    """Tokens computed at once, where nothing is said: on a CPU more than 1,024 give no speed, and take memory."""
    return given or (1024 if device.type == "cpu" else 8192)


def accelerator_bytes() -> float | None:
    """Free memory of the accelerator that torch computes on; None where there is none, or it shares the machine's."""
    if torch.accelerator.current_accelerator(check_available=True) is None:
        return None
    try:
        free, _ = torch.accelerator.get_memory_info()
    except (RuntimeError, NotImplementedError):  # an accelerator without memory of its own
        return None
    return float(free)


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds now: of the accelerator, else resident."""
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else int(psutil.Process().memory_info().rss)


def peak_bytes(device: torch.device) -> int:
    """Most memory this process has held so far: of the accelerator, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if os.uname().sysname == "Darwin" else peak * 1024)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch failed for want of memory, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error)


def machine() -> dict[str, str | int]:
    """What the arithmetic of this run depends on in its last bit; `processes` where it is one."""
    threads = torch.get_num_threads()
    return {"cpu": torch.backends.cpu.get_cpu_capability(), "processor": _processor(), "threads": threads, "processes": 1}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except FileNotFoundError:
        return os.uname().machine
