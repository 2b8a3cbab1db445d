"""Audio files to waveforms: every format libsndfile decodes (wav, flac, ogg, opus, mp3, aiff, ...).

Files are opened by descriptor, so libsndfile judges a file by its content and never by its name.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.types import InputError, Waveform

_FORMATS = "wav, flac, ogg, opus, mp3 or aiff"
_BLOCK_SAMPLES = 1 << 19  # samples over all channels that are held before they become one channel
_SHORTFALL_S = 0.1  # the header of a sound mp3 may promise this much more than there is
_MIN_SAMPLE_RATE_HZ = 1000
_UNKNOWN_NUM_SAMPLES = 1 << 62  # libsndfile reports 2**63 - 1 where a streamed FLAC says nothing
_STREAMED_NUM_BYTES = (1 << 31) - (1 << 16)  # writers to a pipe put a size near 2**31 or 2**32
_CUT_SHORT = re.compile(  # the chunk of samples in the log of a wav, aiff or au file
    r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)


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
    with _opened(Path(path)) as audio:
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
    with _opened(path) as audio:
        return _read(audio, path, start_s, duration_s, first_channel)


def decode_audio(data: bytes, name: str) -> Waveform:
    """What :func:`read_audio` gives for a file that holds ``data``; errors call it ``name``."""
    with _decoder(io.BytesIO(data), name, len(data)) as audio:
        return _read(audio, name, 0.0, None, first_channel=False)


def _read(
    audio: soundfile.SoundFile,
    path: Path | str,
    start_s: float,
    duration_s: float | None,
    first_channel: bool,
) -> Waveform:
    start, stop = _sample_range(path, audio, start_s, duration_s)
    samples = _read_mono(audio, start, stop, first_channel)
    if stop - start - len(samples) > _SHORTFALL_S * audio.samplerate or not len(samples):
        raise InputError(
            f"{path}: damaged or cut short: decodes up to "
            f"{(start + len(samples)) / audio.samplerate:.2f} s of the "
            f"{audio.frames / audio.samplerate:.2f} s its header promises"
        )
    if not np.isfinite(samples).all():
        first = start + int(np.argmin(np.isfinite(samples)))
        raise InputError(
            f"{path}: NaN or infinite sample at {first / audio.samplerate:.3f} s; "
            "samples must be finite"
        )
    return Waveform(samples, audio.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The open file, its header checked; whatever libsndfile raises names the file."""
    try:
        with (
            path.open("rb", buffering=0) as file,
            _decoder(file.fileno(), path, os.fstat(file.fileno()).st_size) as audio,
        ):
            yield audio
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such audio file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; give an audio file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error


@contextmanager
def _decoder(
    source: int | io.BytesIO, name: Path | str, num_bytes: int
) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(source, closefd=False) as audio:
            _check_header(name, audio)
            yield audio
    except soundfile.LibsndfileError as error:
        reason = " ".join(error.error_string.split()).removeprefix("Error : ").rstrip(".")
        if num_bytes == 0:
            reason = "the file is empty"
        raise InputError(
            f"{name}: not readable as audio ({reason}); give an intact {_FORMATS}"
        ) from error
    except MemoryError as error:
        raise InputError(f"{name}: the length in its header is more than memory holds") from error


def _check_header(path: Path | str, audio: soundfile.SoundFile) -> None:
    if audio.frames == 0:
        raise InputError(f"{path}: audio of length zero; it must hold at least one sample")
    if audio.frames > _UNKNOWN_NUM_SAMPLES:
        raise InputError(
            f"{path}: the header does not say how long the audio is (written to a pipe?); "
            "encode it again into a file"
        )
    if audio.samplerate < _MIN_SAMPLE_RATE_HZ:
        raise InputError(
            f"{path}: sample rate of {audio.samplerate} Hz; "
            f"it must be {_MIN_SAMPLE_RATE_HZ} Hz or more"
        )
    # libsndfile shortens such a file to what is there and mentions it in its log alone
    if cut := _CUT_SHORT.search(audio.extra_info):
        promised, present = (int(size) for size in cut.groups())
        missing = audio.frames * (promised / max(present, 1) - 1)
        if promised < _STREAMED_NUM_BYTES and missing > _SHORTFALL_S * audio.samplerate:
            raise InputError(
                f"{path}: cut short: holds {audio.frames / audio.samplerate:.2f} s of the "
                f"{(audio.frames + missing) / audio.samplerate:.2f} s its header promises"
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


def _read_mono(
    audio: soundfile.SoundFile, start: int, stop: int, first_channel: bool
) -> NDArray[np.float32]:
    """Samples ``start`` to ``stop``, fewer where decoding ends early; the mean of all channels."""
    audio.seek(start)
    if audio.channels == 1:
        return np.asarray(audio.read(stop - start, dtype="float32"))
    mono = np.empty(stop - start, dtype=np.float32)
    block = max(1, _BLOCK_SAMPLES // audio.channels)
    num_read = 0
    while num_read < len(mono):
        samples = audio.read(min(block, len(mono) - num_read), dtype="float32")
        if not len(samples):
            break
        used = samples[:, :1] if first_channel else samples
        used.mean(axis=1, out=mono[num_read : num_read + len(samples)])
        num_read += len(samples)
    return mono[:num_read]
