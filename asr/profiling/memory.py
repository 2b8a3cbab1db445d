"""Memory: the peak of a call, what is in use, and what is available."""

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
_RESET_PEAK = "5"  # sets VmHWM to the current resident size


def peak_memory_mib(
    function: Callable[[], object], device: torch.device | str = "cpu", *, warmup: int = 1
) -> float | None:
    """Return the peak memory while ``function`` runs, less that before the call, in MiB.

    CUDA: memory that torch's allocator handed out on ``device``. CPU: the resident size of the
    whole process, from the Linux kernel, so other threads should be idle. Fragmentation of the heap
    counts; memory that is reserved but never touched does not. None if the kernel does not report
    it. ``warmup`` calls come first, so that libraries and workspaces that stay loaded are not
    counted.
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
    """Return freed heap to the kernel; otherwise the call would reuse it and need nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # a C library other than glibc
        return


def in_use_mib(device: torch.device | str = "cpu") -> float | None:
    """Return the memory in use by tensors on a CUDA ``device``, or by this process on the CPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _kib(_STATUS, "VmRSS") if device.type == "cpu" else None


def available_mib(device: torch.device | str = "cpu") -> float | None:
    """Return the memory still available, within the limit of a Linux control group."""
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
    """Return, in MiB, an entry in KiB of one of the kernel's files."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
