"""The machine a number was measured on."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What speed depends on; ``num_cores`` may be used by this process, ``num_threads`` are.

    ``dtype`` and ``cuda_graphs`` are how it was used.
    """

    cpu_model: str
    num_cores: int
    num_threads: int
    gpu_model: str | None
    dtype: str
    cuda_graphs: bool = False

    def __str__(self) -> str:
        threads = f"{self.num_threads} thread{'s' if self.num_threads != 1 else ''}"
        cores = f"{self.num_cores} core{'s' if self.num_cores != 1 else ''}"
        gpu = f"{self.gpu_model}, " if self.gpu_model else ""
        graphs = ", CUDA graphs" if self.cuda_graphs else ""
        return f"{gpu}{self.cpu_model}, {threads} of {cores}, {self.dtype}{graphs}"


def describe_hardware(
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = torch.float32,
    *,
    num_threads: int | None = None,
    cuda_graphs: bool = False,
) -> Hardware:
    """The present machine; ``num_threads`` is torch's current CPU thread count unless given."""
    device = torch.device(device)
    return Hardware(
        cpu_model=_cpu_model(),
        num_cores=_num_cores(),
        num_threads=num_threads or torch.get_num_threads(),
        gpu_model=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        dtype=str(dtype).removeprefix("torch."),
        cuda_graphs=cuda_graphs,
    )


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return " ".join(found[1].split())
    return platform.processor() or platform.machine() or "unknown processor"


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
