"""Memory: what a call needs at its peak, what is in use, and what there is."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_RESET_PEAK = "5"  # what the kernel takes as "set VmHWM to the present resident size"


def peak_memory_mib(
    function: Callable[[], object], device: torch.device | str = "cpu", *, warmup: int = 1
) -> float | None:
    """Highest memory in use while ``function`` runs, less that before the call, in MiB.

    CUDA: what torch's allocator handed out on ``device``. CPU: the resident size of the whole
    process as the Linux kernel keeps it, so other threads should rest. What the heap wastes
    counts, memory that is reserved but never touched does not. None where the kernel does not
    tell. ``warmup`` calls come first, so that libraries loaded and workspaces kept by a first call
    are not charged.
    """
    for _ in range(warmup):
        function()
    device = torch.device(device)
    gc.collect()
    if device.type == "cuda":
        return _cuda_peak_mib(function, device)
    if device.type == "cpu":
        return _process_peak_mib(function)
    return None


def _cuda_peak_mib(function: Callable[[], object], device: torch.device) -> float:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _process_peak_mib(function: Callable[[], object]) -> float | None:
    _return_free_memory()
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return None
    before_mib = _kib(_STATUS, "VmHWM")
    if before_mib is None:
        return None
    function()
    after_mib = _kib(_STATUS, "VmHWM")
    return None if after_mib is None else max(0.0, after_mib - before_mib)


def _return_free_memory() -> None:
    """Hand freed heap back to the kernel, or the call would reuse it and seem to need nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library than glibc
        return


def in_use_mib(device: torch.device | str = "cpu") -> float | None:
    """Memory in use now: by tensors on a CUDA ``device``, by this process on the CPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _kib(_STATUS, "VmRSS") if device.type == "cpu" else None


def available_mib(device: torch.device | str = "cpu") -> float | None:
    """Memory that may still be taken, the limit of a Linux control group respected."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    there = _kib(_MEMINFO, "MemAvailable") if device.type == "cpu" else None
    if there is None:
        return None
    try:
        limit, used = ((_CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return min(there, (int(limit) - int(used)) / 2**20)
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return there


def _kib(path: Path, name: str) -> float | None:
    """An entry in KiB of a file of the kernel, in MiB."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
