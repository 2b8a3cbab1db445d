"""Which code made a number: the revision of this checkout and the versions installed."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import asr

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
    """A git commit; ``dirty`` when tracked files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:10] + (" with local changes" if self.dirty else "")


def source_revision(source: Path | None = None) -> Revision | None:
    """The commit of the checkout that tracks ``source`` (default: this package's own file).

    None outside a checkout, for an installed copy that no checkout tracks, or without git.
    """
    source = source or Path(asr.__file__)
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changes = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return Revision(commit=commit, dirty=bool(changes))


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages results depend on; none of them is imported."""
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
