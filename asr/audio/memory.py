"""Audio that is not a file on disk: arrays of samples, bytes, and open file objects.

Shape legend: N samples, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr.audio.ffmpeg import decoded
from asr.audio.read import probe_audio
from asr.audio.source import ByteSource, memory_source
from asr.errors import InputError, printable
from asr.types import Waveform

_BLOCK_SAMPLES = 1 << 19
_RATES_HZ = (1000, 1_000_000)
_MOST_CHANNELS = 1024


class ArrayLike(Protocol):
    """Anything numpy can read as an array, such as a tensor of torch."""

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        """Return the array."""


class Samples(NamedTuple):
    """Audio in memory: ``samples`` (N, C), float32 in [-1, 1], at ``sample_rate_hz``."""

    samples: NDArray[np.float32]
    sample_rate_hz: int
    name: str = "array"

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[1])

    def blocks(self, channel: int | None = None) -> Iterator[Waveform]:
        """Yield the mean of the channels, or one of them (from 1), block by block.

        Raises:
            InputError: there is no such channel.
        """
        if channel is not None and not 1 <= channel <= self.num_channels:
            has = "one" if self.num_channels == 1 else f"1 to {self.num_channels}"
            raise InputError(f"{self.name}: has no channel {channel}; it has {has}")
        for first in range(0, len(self.samples), _BLOCK_SAMPLES):
            block = self.samples[first : first + _BLOCK_SAMPLES]
            mono = block.mean(axis=1) if channel is None else block[:, channel - 1].copy()
            yield Waveform(mono, self.sample_rate_hz)


AudioInput: TypeAlias = (
    str | Path | bytes | BinaryIO | Waveform | tuple[Any, int] | Samples | ByteSource
)
"""Audio to read: a path, a file's bytes, a file open in binary, or samples with their rate."""


def as_audio(audio: AudioInput | Any) -> Path | ByteSource | Samples:
    """Convert an input to one of the three kinds that can be read.

    Raises:
        InputError: the input is not audio, or its samples are invalid.
    """
    match audio:
        case Samples() | ByteSource() | Path():
            return audio
        case str():
            return Path(audio)
        case Waveform():
            return array_audio(audio.samples, audio.sample_rate_hz)
        case (samples, sample_rate_hz):
            return array_audio(samples, sample_rate_hz)
        case bytes() | bytearray() | memoryview():
            return file_audio(audio)
    if hasattr(audio, "read"):
        return file_audio(audio)
    if hasattr(audio, "__array__"):
        return array_audio(audio, None)
    raise InputError(
        f"audio of type {type(audio).__name__}; allowed: a path, bytes, a file open in binary, "
        "samples with their rate"
    )


def num_channels(audio: Path | ByteSource | Samples) -> int:
    """Return the number of channels; raise as `probe_audio` does."""
    if isinstance(audio, Samples):
        return audio.num_channels
    return probe_audio(audio, strict=False).num_channels


def array_audio(
    samples: ArrayLike | Any, sample_rate_hz: int | float | None, *, name: str = "array"
) -> Samples:
    """Convert samples (N,), (N, C) or (C, N) to audio; integers are scaled to [-1, 1].

    The shorter side of a table is taken as the channels.

    Raises:
        InputError: no rate, a rate out of range, no samples, a wrong shape or type, or NaN and
            infinite samples.
    """
    low, high = _RATES_HZ
    if sample_rate_hz is None:
        raise InputError(f"{name}: samples need their rate: transcribe(samples, sample_rate_hz)")
    if not low <= sample_rate_hz <= high or int(sample_rate_hz) != sample_rate_hz:
        raise InputError(
            f"{name}: sample rate of {sample_rate_hz} Hz; allowed: whole numbers, {low} to {high}"
        )
    found = np.asarray(samples)
    if found.dtype.kind not in "fiu":
        raise InputError(f"{name}: samples of type {found.dtype}; allowed: floats, whole numbers")
    if found.ndim == 2 and found.shape[0] < found.shape[1]:
        found = found.T
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or not found.size or found.shape[1] > _MOST_CHANNELS:
        shape = "x".join(map(str, np.shape(samples))) or "no dimension"
        raise InputError(f"{name}: samples of shape {shape}; allowed: (N,), (N, C), (C, N)")
    return Samples(_scaled(found, name), int(sample_rate_hz), name)


def _scaled(found: NDArray[Any], name: str) -> NDArray[np.float32]:
    if found.dtype.kind == "f":
        floats = found.astype(np.float32, copy=False)
        if not np.isfinite(floats).all():
            raise InputError(f"{name}: NaN or infinite samples; samples must be finite")
        return floats
    kind = np.iinfo(found.dtype)
    middle = 0 if found.dtype.kind == "i" else (kind.max + 1) // 2
    scaled: NDArray[np.float32] = (
        (found.astype(np.float64) - middle) / (kind.max + 1 - middle)
    ).astype(np.float32)
    return scaled


def file_audio(file: Any) -> ByteSource:
    """Return a source for the bytes of an audio file, or for an object open in binary.

    An object that can seek is read piece by piece, from its start; another one as a whole.

    Raises:
        InputError: it does not yield bytes, or FFmpeg is needed and finds no audio.
    """
    if isinstance(file, bytes | bytearray | memoryview):
        return decoded(memory_source(bytes(file), "bytes"))
    name = printable(getattr(file, "name", None) or type(file).__name__)
    try:
        can_seek = file.seekable()
    except AttributeError:
        can_seek = False
    if not can_seek:
        data = file.read()
        if not isinstance(data, bytes):
            raise InputError(f"{name}: open it in binary: open(path, 'rb')")
        return decoded(memory_source(data, name))
    if isinstance(file, io.TextIOBase):
        raise InputError(f"{name}: open it in binary: open(path, 'rb')")
    size = file.seek(0, io.SEEK_END)
    lock = Lock()

    def read_at(offset: int, num_bytes: int) -> bytes:
        with lock:
            file.seek(offset)
            parts = []
            while num_bytes > 0 and (part := file.read(num_bytes)):
                parts.append(part)
                num_bytes -= len(part)
        return b"".join(parts)

    return decoded(ByteSource(name, size, read_at))
