"""Open audio files, their headers checked; whatever libsndfile raises names the file.

Files are opened by descriptor, so libsndfile judges a file by its content and never by its name.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from asr.types import InputError

SHORTFALL_S = 0.1
"""The header of a sound mp3 may promise this much more than there is."""
_FORMATS = "wav, flac, ogg, opus, mp3 or aiff"
_MIN_SAMPLE_RATE_HZ = 1000
_UNKNOWN_NUM_SAMPLES = 1 << 62  # libsndfile reports 2**63 - 1 where a streamed FLAC says nothing
_STREAMED_NUM_BYTES = (1 << 31) - (1 << 16)  # writers to a pipe put a size near 2**31 or 2**32
_CUT_SHORT = re.compile(  # the chunk of samples in the log of a wav, aiff or au file
    r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The open file.

    Raises:
        InputError: missing, a folder, empty, not audio, cut short as far as its header can tell, or
            of length zero.
    """
    try:
        with (
            path.open("rb", buffering=0) as file,
            decoder(file.fileno(), path, os.fstat(file.fileno()).st_size) as audio,
        ):
            yield audio
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such audio file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; give an audio file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error


@contextmanager
def decoder(
    source: int | io.BytesIO, name: Path | str, num_bytes: int
) -> Iterator[soundfile.SoundFile]:
    """The same for a descriptor, or the bytes of a file; errors call it ``name``."""
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
        if promised < _STREAMED_NUM_BYTES and missing > SHORTFALL_S * audio.samplerate:
            raise InputError(
                f"{path}: cut short: holds {audio.frames / audio.samplerate:.2f} s of the "
                f"{(audio.frames + missing) / audio.samplerate:.2f} s its header promises"
            )
