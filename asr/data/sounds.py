"""Recordings that are mixed into speech: the manifests of a prepared folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.data.manifest import Cut, audio_path, read_manifest
from asr.types import InputError


def read_sounds(
    folder: str | None, parts: Sequence[str], probability: float, key: str
) -> list[Cut]:
    """The recordings of ``<folder>/<part>.jsonl.gz`` for each part; none without a folder.

    Raises:
        InputError: no such manifest or no parts, or a probability outside 0 to 1; names the
            config ``key``.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"{key}.probability: {probability:g} must be between 0 and 1")
    if folder is None:
        return []
    if not parts:
        raise InputError(f"{key}.parts: name one manifest of {folder} or more")
    found: list[Cut] = []
    for part in parts:
        manifest = Path(folder, f"{part}.jsonl.gz")
        if not manifest.is_file():
            there = sorted(file.name.partition(".")[0] for file in Path(folder).glob("*.jsonl.gz"))
            has = f"it has {', '.join(there)}" if there else "`asr prepare` makes such folders"
            raise InputError(f"{key}.folder: {folder} has no manifest {manifest.name}; {has}")
        found += read_manifest(manifest)
    return found


class SoundError(InputError):
    """A recording that cannot be mixed into speech; ``sound`` is its file."""

    def __init__(self, sound: str, message: str) -> None:
        super().__init__(message)
        self.sound = sound


def read_sound(
    recording: Cut,
    sample_rate_hz: int,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> NDArray[np.float32]:
    """Samples of a recording, or of the stretch of it from ``start_s`` on, at ``sample_rate_hz``.

    Raises:
        SoundError: it cannot be read.
    """
    path = audio_path(recording)
    try:
        waveform = read_audio(
            path,
            start_s=recording.start + start_s,
            duration_s=recording.duration if duration_s is None else duration_s,
            channel=channel,
        )
    except InputError as error:
        raise SoundError(str(path), str(error)) from error
    return resample(waveform, sample_rate_hz).samples
