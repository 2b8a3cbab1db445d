"""Peak memory of a call, above what was in use before it."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
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
    before_mib = _resident_peak_mib()
    if before_mib is None:
        return None
    function()
    after_mib = _resident_peak_mib()
    return None if after_mib is None else max(0.0, after_mib - before_mib)


def _return_free_memory() -> None:
    """Hand freed heap back to the kernel, or the call would reuse it and seem to need nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library than glibc
        return


def _resident_peak_mib() -> float | None:
    found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else None
