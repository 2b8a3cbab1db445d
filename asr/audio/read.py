"""Reading audio files to waveforms: WAV, FLAC, Ogg, Opus, MP3, AIFF and more.

A file is read to its true end, whatever its header says; joined files are read in order.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr.audio.open import AudioPart, OpenAudio, opened, opened_bytes
from asr.audio.resample import resample
from asr.audio.source import ByteSource
from asr.errors import InputError
from asr.types import Waveform

_CANCELLED = 0.1
"""Limit for the energy of the channels' mean, relative to that of uncorrelated channels."""


AudioFile: TypeAlias = str | os.PathLike[str] | ByteSource
"""A path or an open source; a pipe must be opened once to be read more than once."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Properties of an audio file, known without decoding; ``num_samples`` is per channel.

    Joined recordings have the rate and channels of the first, and the length of all.
    """

    sample_rate_hz: int
    num_samples: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


def probe_audio(file: AudioFile, *, strict: bool = True) -> AudioInfo:
    """Find rate, length and channels of an audio file without decoding samples.

    Raises ``InputError`` if the file is missing, a folder, empty, not audio or of length zero, and
    with ``strict`` also if it is known to be damaged or cut short.
    """
    with opened(_opener(file), None if strict else lambda message: None) as recording:
        return _info(recording)


def read_audio(
    path: str | os.PathLike[str],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> Waveform:
    """Read a file, or the segment that begins at ``start_s``, at its own sample rate.

    Channels are averaged, or only ``channel`` is read, counted from 1. A segment that reaches past
    the end stops there. Raises ``InputError`` like :func:`probe_audio`, and if the audio is damaged
    or cut short, has NaN or infinite samples, or the segment has no sample.
    """
    with opened(Path(path)) as recording:
        return _read(recording, start_s, duration_s, channel)


def decode_audio(data: bytes, name: str) -> Waveform:
    """Read the bytes of a file as :func:`read_audio` reads a file; errors call it ``name``."""
    with opened_bytes(data, name) as recording:
        return _read(recording, 0.0, None, None)


def stream_audio(
    file: AudioFile,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
    strict: bool = True,
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[Waveform]:
    """Read like :func:`read_audio`, in blocks, so that memory does not grow with the file.

    At the end, ``notify`` gets a message if channels of opposite sign cancel in their mean. Without
    ``strict``, it also gets messages about damage and missing samples, and the decodable part is
    read. Joined recordings may have different sample rates.

    Raises as `read_audio` does; damage may be found only after the intact blocks before it.
    """
    mix = _Mix()
    num_samples = 0
    with opened(_opener(file), None if strict else notify) as recording:
        for part, samples in _blocks(recording, start_s, duration_s, channel, mix):
            num_samples += len(samples)
            yield Waveform(samples, part.sample_rate_hz)
        if not num_samples:
            raise InputError(f"{recording.name}: nothing in it can be decoded")
        if mix.cancels:
            notify(
                f"{recording.name}: the channels cancel one another: their mean, which is read, is "
                f"{-mix.level_db:.0f} dB below them; read one of them (transcribe: --channels 1)"
            )


@dataclass(frozen=True, slots=True)
class CheckedAudio:
    """Audio decoded to its end; ``notices`` are warnings about it."""

    info: AudioInfo
    duration_s: float
    notices: tuple[str, ...]


def check_audio(
    path: str | os.PathLike[str], *, start_s: float = 0.0, duration_s: float | None = None
) -> CheckedAudio:
    """Decode a file, or a segment of it, to check it; discard the samples.

    Raises ``InputError`` as :func:`read_audio` does, and if ``path`` is a pipe, which cannot be
    read again.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is no file; training reads audio more than once")
    notices: list[str] = []
    info = probe_audio(path)
    num_decoded = Counter[int]()
    blocks = stream_audio(path, start_s=start_s, duration_s=duration_s, notify=notices.append)
    for waveform in blocks:
        num_decoded[waveform.sample_rate_hz] += len(waveform.samples)
    duration_s = sum(count / rate_hz for rate_hz, count in num_decoded.items())
    return CheckedAudio(info, duration_s, tuple(notices))


class _Mix:
    """Energy of the channels and of their mean."""

    def __init__(self) -> None:
        self._of_mean = self._of_channels = self._expected = 0.0

    def add(self, samples: NDArray[np.float32], mean: NDArray[np.float32]) -> None:
        """Add a block (N, channels) and its mean (N,)."""
        energy = float(np.square(samples, dtype=np.float64).mean(axis=1).sum())
        self._of_mean += float(np.square(mean, dtype=np.float64).sum())
        self._of_channels += energy
        self._expected += energy / samples.shape[1]

    @property
    def cancels(self) -> bool:
        """Whether the mean is far weaker than that of unrelated channels."""
        return self._of_mean < _CANCELLED * self._expected

    @property
    def level_db(self) -> float:
        """Level of the mean relative to the channels."""
        return 10 * math.log10(max(self._of_mean / self._of_channels, 1e-10))


def _opener(file: AudioFile) -> Path | ByteSource:
    return file if isinstance(file, ByteSource) else Path(file)


def _info(recording: OpenAudio) -> AudioInfo:
    first = recording.parts[0]
    num_samples = sum(
        part.num_samples
        if part.sample_rate_hz == first.sample_rate_hz
        else round(part.duration_s * first.sample_rate_hz)
        for part in recording.parts
    )
    return AudioInfo(first.sample_rate_hz, num_samples, first.num_channels)


def _read(
    recording: OpenAudio, start_s: float, duration_s: float | None, channel: int | None
) -> Waveform:
    rate_hz = recording.parts[0].sample_rate_hz
    blocks: list[NDArray[np.float32]] = []
    for rate, group in groupby(
        _blocks(recording, start_s, duration_s, channel), key=lambda block: block[0].sample_rate_hz
    ):
        of_rate = [samples for _, samples in group]
        joined = of_rate[0] if len(of_rate) == 1 else np.concatenate(of_rate)
        blocks.append(resample(Waveform(joined, rate), rate_hz).samples)
    return Waveform(blocks[0] if len(blocks) == 1 else np.concatenate(blocks), rate_hz)


def _blocks(
    recording: OpenAudio,
    start_s: float,
    duration_s: float | None,
    channel: int | None,
    mix: _Mix | None = None,
) -> Iterator[tuple[AudioPart, NDArray[np.float32]]]:
    """Yield one channel of a segment in checked blocks (N,)."""
    for part, start, stop in _sample_ranges(recording, start_s, duration_s):
        present = start
        for samples in recording.blocks(part, start, stop):
            mono = _one_channel(recording, samples, channel)
            if not np.isfinite(mono).all():
                first = present + int(np.argmin(np.isfinite(mono)))
                raise InputError(
                    f"{recording.name}: NaN or infinite sample at "
                    f"{recording.starts_s(part) + first / part.sample_rate_hz:.3f} s; "
                    "samples must be finite"
                )
            if mix is not None and channel is None and samples.shape[1] > 1:
                mix.add(samples, mono)
            present += len(mono)
            yield part, mono


def _one_channel(
    recording: OpenAudio, samples: NDArray[np.float32], channel: int | None
) -> NDArray[np.float32]:
    num_channels = samples.shape[1]
    if channel is None:
        return samples[:, 0] if num_channels == 1 else samples.mean(axis=1, dtype=np.float32)
    if not 1 <= channel <= num_channels:
        raise InputError(
            f"{recording.name}: has no channel {channel}; it has "
            + ("one" if num_channels == 1 else f"1 to {num_channels}")
        )
    return np.ascontiguousarray(samples[:, channel - 1])


def _sample_ranges(
    recording: OpenAudio, start_s: float, duration_s: float | None
) -> list[tuple[AudioPart, int, int]]:
    """Return the parts that a segment overlaps, with the range of samples in each."""
    ranges = []
    if 0 <= start_s < math.inf:
        for part in recording.parts:
            begin = round((start_s - recording.starts_s(part)) * part.sample_rate_hz)
            stop = part.num_samples
            if duration_s is not None:
                stop = min(stop, begin + round(min(duration_s, 1e9) * part.sample_rate_hz))
            if (start := max(0, begin)) < stop:
                ranges.append((part, start, stop))
    if not ranges:
        length = "" if duration_s is None else f" for {duration_s:g} s"
        raise InputError(
            f"{recording.name}: no audio from {start_s:g} s{length}; "
            f"the file is {recording.duration_s:.2f} s long"
        )
    return ranges
