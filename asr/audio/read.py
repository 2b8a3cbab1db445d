"""Audio files to waveforms: what libsndfile decodes (wav, flac, ogg, opus, mp3, aiff, ...)."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio.open import SHORTFALL_S, decoder, opened
from asr.types import InputError, Waveform

_BLOCK_SAMPLES = 1 << 19  # over all channels, held before they become one channel


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says; ``num_samples`` is per channel."""

    sample_rate_hz: int
    num_samples: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


def probe_audio(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of an audio file, and none of its samples.

    Raises ``InputError`` where the file is missing, a folder, empty, not audio, cut short as far
    as its header can tell, or of length zero.
    """
    with opened(Path(path)) as audio:
        return AudioInfo(audio.samplerate, audio.frames, audio.channels)


def read_audio(
    path: str | os.PathLike[str],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    first_channel: bool = False,
) -> Waveform:
    """Read a file, or the stretch of it from ``start_s`` on, at its own sample rate.

    Channels are averaged to one, or only the ``first_channel`` is taken. A stretch that reaches
    behind the end stops at the end. Raises ``InputError`` like :func:`probe_audio`, and where the
    audio is damaged or cut short, has NaN or infinite samples, or where the stretch holds no
    sample. Ogg and Opus files promise no length: cut short, they are read as far as they go.
    """
    path = Path(path)
    with opened(path) as audio:
        return _read(audio, path, start_s, duration_s, first_channel)


def decode_audio(data: bytes, name: str) -> Waveform:
    """What :func:`read_audio` gives for a file that holds ``data``; errors call it ``name``."""
    with decoder(io.BytesIO(data), name, len(data)) as audio:
        return _read(audio, name, 0.0, None, first_channel=False)


def stream_audio(path: str | os.PathLike[str]) -> Iterator[Waveform]:
    """What :func:`read_audio` gives, block by block, so that memory does not grow with the file.

    Raises as it does, where the file is found to be damaged only behind the blocks that are sound.
    """
    path = Path(path)
    with opened(path) as audio:
        for samples in _blocks(audio, path, 0, audio.frames, first_channel=False):
            yield Waveform(samples, audio.samplerate)


def _read(
    audio: soundfile.SoundFile,
    path: Path | str,
    start_s: float,
    duration_s: float | None,
    first_channel: bool,
) -> Waveform:
    start, stop = _sample_range(path, audio, start_s, duration_s)
    samples = np.empty(stop - start, dtype=np.float32)
    num_read = 0
    for block in _blocks(audio, path, start, stop, first_channel):
        samples[num_read : num_read + len(block)] = block
        num_read += len(block)
    return Waveform(samples[:num_read], audio.samplerate)


def _blocks(
    audio: soundfile.SoundFile, path: Path | str, start: int, stop: int, first_channel: bool
) -> Iterator[NDArray[np.float32]]:
    """Samples ``start`` to ``stop``, checked; the mean of all channels."""
    audio.seek(start)
    present = start
    while present < stop:
        size = min(max(1, _BLOCK_SAMPLES // audio.channels), stop - present)
        samples = audio.read(size, dtype="float32", always_2d=True)
        if not len(samples):
            break
        used = samples[:, :1] if first_channel else samples
        mono = used[:, 0] if used.shape[1] == 1 else used.mean(axis=1)
        if not np.isfinite(mono).all():
            first = present + int(np.argmin(np.isfinite(mono)))
            raise InputError(
                f"{path}: NaN or infinite sample at {first / audio.samplerate:.3f} s; "
                "samples must be finite"
            )
        yield np.asarray(mono, dtype=np.float32)
        present += len(mono)
        if len(samples) < size:  # what follows the damage would stand at the wrong time
            break
    if stop - present > SHORTFALL_S * audio.samplerate or present == start:
        raise InputError(
            f"{path}: damaged or cut short: decodes up to "
            f"{present / audio.samplerate:.2f} s of the "
            f"{audio.frames / audio.samplerate:.2f} s its header promises"
        )


def _sample_range(
    path: Path | str, audio: soundfile.SoundFile, start_s: float, duration_s: float | None
) -> tuple[int, int]:
    start = round(start_s * audio.samplerate)
    stop = audio.frames
    if duration_s is not None:
        stop = min(stop, start + round(duration_s * audio.samplerate))
    if not 0 <= start < stop:
        length = "" if duration_s is None else f" for {duration_s:g} s"
        raise InputError(
            f"{path}: no audio from {start_s:g} s{length}; "
            f"the file is {audio.frames / audio.samplerate:.2f} s long"
        )
    return start, stop
