"""The hardware, package versions and commit with which a number was measured."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")
_CONTROL_GROUP = Path("/proc/self/cgroup")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The hardware and settings that speed depends on.

    ``num_cores`` is available to this process, ``num_threads`` is in use. ``dtype`` and
    ``cuda_graphs`` are settings of the measurement.
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
    """Describe this machine; ``num_threads`` defaults to torch's current CPU thread count."""
    device = torch.device(device)
    return Hardware(
        cpu_model=_cpu_model(),
        num_cores=num_cores(),
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


def num_cores() -> int:
    """Return the CPU cores that this process may use, by affinity and control group quota.

    A fraction of a core counts as a whole core.
    """
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(affine or 1, _quota_cores())))


def _quota_cores() -> float:
    """Return the lowest quota of this process's control groups (version 2), or infinity."""
    try:
        lines = _CONTROL_GROUP.read_text().splitlines()
    except OSError:
        return math.inf
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    quotas = [math.inf]
    for group in (_CONTROL_GROUPS / own, *(_CONTROL_GROUPS / own).parents):
        if group.is_relative_to(_CONTROL_GROUPS):
            quotas.append(_quota_of(group / "cpu.max"))
    return min(quotas)


def _quota_of(file: Path) -> float:
    try:
        quota, period = file.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no quota file, or "max"
        return math.inf


_DISTRIBUTIONS = (
    "encore-asr",
    "torch",
    "torchaudio",
    "lightning",
    "lhotse",
    "sentencepiece",
    "numpy",
    "onnx",
    "onnxruntime",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A git commit; ``dirty`` if tracked files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:10] + (" with local changes" if self.dirty else "")


def source_revision(source: Path | None = None) -> Revision | None:
    """Return the commit of the checkout that tracks ``source`` (default: this package's own file).

    None outside a checkout, for an installed copy that no checkout tracks, or without git.
    """
    source = source or Path(__file__)
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changes = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return Revision(commit=commit, dirty=bool(changes))


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and the packages results depend on, importing none."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
