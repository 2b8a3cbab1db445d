"""Opening audio files for decoding with libsndfile; errors name the file.

The format is recognised by content, never by name.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio.containers import chunked_streams
from asr.audio.ffmpeg import FFMPEG_SUFFIXES, decoded
from asr.audio.mpeg import mpeg_streams
from asr.audio.quiet import quiet_decoder
from asr.audio.source import ByteSource, Extent, VirtualFile, memory_source, open_source
from asr.audio.streams import (
    FLAC_MAGIC,
    OGG_MAGIC,
    StreamedFile,
    flac_streams,
    ogg_streams,
    unchanged,
)
from asr.errors import InputError

AUDIO_SUFFIXES = FFMPEG_SUFFIXES | {
    *(".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf"),
    *(".w64", ".rf64", ".sph", ".gsm"),
}
"""Suffixes of audio files in folders, in lower case."""
SHORTFALL_S = 0.1
"""Seconds a recording may be shorter than its header says and not count as damaged."""
_FORMATS = "wav, flac, ogg, opus, mp3 or aiff, or with FFmpeg installed mp4, m4a, webm, …"
_SAMPLE_RATES_HZ = (1000, 1_000_000)
_UNKNOWN_NUM_SAMPLES = 1 << 62  # libsndfile reports 2**63 - 1 where the header says nothing
_BLOCK_SAMPLES = 1 << 19  # over all channels
_SMALL_BLOCK_SAMPLES = 1 << 12  # step size close to damage
_BUFFER_NUM_BYTES = 1 << 16

Notify = Callable[[str], None]
"""Takes a message about a partly readable, damaged recording; may raise to refuse it."""


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A decoder that does not seek; soundfile itself seeks to the same place after every read.

    Seeking fails in some damaged files whose samples can be read.
    """

    @property
    def can_seek(self) -> bool:
        """Whether the codec can seek."""
        return bool(super().seekable())

    def seekable(self) -> bool:
        """Return False, so that soundfile does not seek."""
        return False


class AudioPart(NamedTuple):
    """One recording in a file, as libsndfile sees it."""

    stream: StreamedFile
    sample_rate_hz: int
    num_channels: int
    num_samples: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


@dataclass(frozen=True)
class OpenAudio:
    """An open audio file; its parts follow one another."""

    source: ByteSource
    parts: Sequence[AudioPart]
    notify: Notify

    @property
    def name(self) -> str:
        """The name for messages."""
        return self.source.name

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return sum(part.duration_s for part in self.parts)

    def starts_s(self, part: AudioPart) -> float:
        """Return the start of a part in seconds."""
        before = self.parts[: next(i for i, one in enumerate(self.parts) if one is part)]
        return sum(one.duration_s for one in before)

    def blocks(self, part: AudioPart, start: int, stop: int) -> Iterator[NDArray[np.float32]]:
        """Yield samples ``start`` to ``stop`` of a part, in blocks (N, channels).

        Damage is reported by ``notify`` and ends the part, because later samples would have wrong
        times.
        """
        present = start
        reason = ""
        for block_samples in (_BLOCK_SAMPLES, _SMALL_BLOCK_SAMPLES):
            try:
                with _decoder(self.source, part.stream) as audio:
                    for samples in _read_on(audio, present, stop, block_samples):
                        present += len(samples)
                        yield samples
                break
            except soundfile.LibsndfileError as error:  # fails the whole block
                reason = _said(error)
        if present == 0 and reason:
            self.notify(f"{self.name}: {_unreadable(reason)}")
        elif stop - present > SHORTFALL_S * part.sample_rate_hz or present <= start or reason:
            self.notify(
                f"{self.name}: damaged or cut short: decodes up to "
                f"{self.starts_s(part) + present / part.sample_rate_hz:.2f} s of the "
                f"{self.duration_s:.2f} s its header promises" + (f" ({reason})" if reason else "")
            )


@contextmanager
def open_audio(path: Path) -> Iterator[ByteSource]:
    """Open the bytes of an audio file, or the result of decoding it with FFmpeg.

    Raises:
        InputError: it cannot be opened, or FFmpeg is needed and finds no audio.
        RunError: the disk of temporary files is full.
    """
    with open_source(path) as source:
        yield decoded(source)


@contextmanager
def opened(file: Path | ByteSource, notify: Notify | None = None) -> Iterator[OpenAudio]:
    """Open an audio file.

    Raises:
        InputError: missing, a folder, a device, empty, not audio, or of length zero; without
            ``notify`` also damaged or cut short, as far as known without decoding.
    """
    with nullcontext(file) if isinstance(file, ByteSource) else open_audio(file) as source:
        yield _recording(source, notify or _refuse)


@contextmanager
def opened_bytes(data: bytes, name: str) -> Iterator[OpenAudio]:
    """Open the bytes of an audio file; errors call it ``name``."""
    yield _recording(decoded(memory_source(data, name)), _refuse)


def _refuse(message: str) -> None:
    raise InputError(message)


def _recording(source: ByteSource, notify: Notify) -> OpenAudio:
    if source.damage:
        notify(f"{source.name}: {source.damage}")
    contents = _cached(_Known(source)) if source.identity else _look_through(source)
    for fault in contents.faults:
        notify(f"{source.name}: {fault}")
    for part in contents.parts:
        missing_s = part.duration_s * (1 / max(part.stream.present_fraction, 1e-9) - 1)
        missing_s = part.stream.missing_s or missing_s
        if missing_s > SHORTFALL_S and not source.damage:
            notify(
                f"{source.name}: cut short: holds {part.duration_s:.2f} s of the "
                f"{part.duration_s + missing_s:.2f} s its header promises"
            )
    return OpenAudio(source, contents.parts, notify)


class _Contents(NamedTuple):
    """The parts of a file, and its faults."""

    parts: tuple[AudioPart, ...]
    faults: tuple[str, ...]


class _Known:
    """A source as a cache key: equal while its file is unchanged."""

    def __init__(self, source: ByteSource) -> None:
        self.source: ByteSource | None = source
        self._identity = source.identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self._identity == other._identity


@lru_cache(maxsize=4096)
def _cached(known: _Known) -> _Contents:
    source, known.source = known.source, None  # the key outlives the open file
    assert source is not None
    return _look_through(source)


def _look_through(source: ByteSource) -> _Contents:
    """Open each stream with libsndfile and keep those with samples.

    Raises ``InputError`` if none has samples.
    """
    parts: list[AudioPart] = []
    faults: list[str] = []
    reason = "audio of length zero; it must hold at least one sample"
    before_s = 0.0
    for stream in _streams(source):
        try:
            with _decoder(source, stream) as audio:
                part = AudioPart(stream, audio.samplerate, audio.channels, audio.frames)
        except soundfile.LibsndfileError as error:
            said = "the file is empty" if source.size == 0 else _said(error)
            reason = _unreadable(said)
            faults.append(f"what begins at {before_s:.2f} s is not readable as audio ({said})")
            continue
        if part.num_samples == 0:
            continue
        _check(source, part)
        if stream.damage and not 0 < stream.lost_s <= SHORTFALL_S:
            faults.append(stream.damage)
        parts.append(part)
        before_s += part.duration_s
    if not parts:
        raise InputError(f"{source.name}: {reason}")
    return _Contents(tuple(parts), tuple(faults))


def _streams(source: ByteSource) -> list[StreamedFile]:
    head = source.read_at(0, 4)
    if head == OGG_MAGIC:
        return ogg_streams(source)
    if head == FLAC_MAGIC:
        return flac_streams(source)
    return chunked_streams(source) or mpeg_streams(source) or [unchanged(source)]


def _check(source: ByteSource, part: AudioPart) -> None:
    if part.num_samples > _UNKNOWN_NUM_SAMPLES:
        raise InputError(
            f"{source.name}: the header does not say how long the audio is (written to a pipe?); "
            "encode it again into a file"
        )
    low, high = _SAMPLE_RATES_HZ
    if not low <= part.sample_rate_hz <= high:
        raise InputError(
            f"{source.name}: sample rate of {part.sample_rate_hz} Hz; "
            f"it must be {low} Hz to {high} Hz"
        )


@contextmanager
def _decoder(source: ByteSource, stream: StreamedFile) -> Iterator[_Decoder]:
    file: int | io.BufferedReader
    if source.file is not None and stream.pieces == (Extent(0, source.size),):
        file = source.file
        os.lseek(file, 0, os.SEEK_SET)
    else:
        file = io.BufferedReader(VirtualFile(source, stream.pieces), _BUFFER_NUM_BYTES)
    with quiet_decoder():
        audio = _Decoder(file, closefd=False)
    try:
        yield audio
    finally:
        with quiet_decoder():
            audio.close()


def _read_on(
    audio: _Decoder, start: int, stop: int, block_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Yield samples ``start`` to ``stop`` (N, channels), as far as they decode without a gap."""
    size = max(1, block_samples // audio.channels)
    present = 0
    with quiet_decoder():
        if start and audio.can_seek:
            audio.seek(start)
            present = start
    while present < stop:
        wanted = min(size, (stop if present >= start else start) - present)
        with quiet_decoder():
            samples = audio.read(wanted, dtype="float32", always_2d=True)
        if len(samples) and present >= start:  # else the codec cannot seek
            yield samples
        present += len(samples)
        if len(samples) < wanted:
            return


def _unreadable(reason: str) -> str:
    return f"not readable as audio ({reason}); give an intact {_FORMATS}"


def _said(error: soundfile.LibsndfileError) -> str:
    return " ".join(error.error_string.split()).removeprefix("Error : ").rstrip(".")
