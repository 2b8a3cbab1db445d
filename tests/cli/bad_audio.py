"""Audio files that cannot be used, each a way that happens to people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from .runs import SAMPLE_RATE_HZ


def missing(path: Path) -> None:
    assert not path.exists()


def empty(path: Path) -> None:
    path.touch()


def renamed_text(path: Path) -> None:
    path.write_text("Dear diary, this is no sound at all.\n" * 50)


def zero_length(path: Path) -> None:
    soundfile.write(path, np.zeros(0, dtype=np.float32), SAMPLE_RATE_HZ)


def not_finite(path: Path) -> None:
    samples = np.full(SAMPLE_RATE_HZ, 0.1, dtype=np.float32)
    samples[300:310] = np.nan
    soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="FLOAT")


def cut_short(path: Path) -> None:
    soundfile.write(path, np.full(SAMPLE_RATE_HZ, 0.1, dtype=np.float32), SAMPLE_RATE_HZ)
    path.write_bytes(path.read_bytes()[: SAMPLE_RATE_HZ // 2])


def folder(path: Path) -> None:
    path.mkdir()


BAD_AUDIO: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (missing, "no such audio file"),
    "empty": (empty, "the file is empty"),
    "text": (renamed_text, "not readable as audio"),
    "zero length": (zero_length, "audio of length zero"),
    "NaN": (not_finite, "NaN or infinite sample"),
    "cut short": (cut_short, "cut short"),
    "folder": (folder, "is a folder"),
}
"""Maker of the file, and what is said about it."""
