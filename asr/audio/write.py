"""Writing waveforms to audio files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile

from asr.errors import InputError
from asr.types import Waveform

_SUFFIXES = (".flac", ".wav")


def write_audio(path: str | os.PathLike[str], waveform: Waveform) -> None:
    """Write one channel of 16 bit audio as FLAC or WAV, by the suffix of ``path``.

    Samples outside [-1, 1] are clipped. The same waveform gives the same bytes. Raises
    ``InputError`` for another suffix, or if the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: audio is written as {' or '.join(_SUFFIXES)}")
    assert len(waveform.samples), "a FLAC file without samples could not be read back"
    try:
        soundfile.write(path, waveform.samples, waveform.sample_rate_hz, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be written ({error.error_string.rstrip('.')})") from error


def encode_flac(waveform: Waveform) -> bytes:
    """Return the FLAC file that :func:`write_audio` would write, as bytes."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, waveform.samples, waveform.sample_rate_hz, format="FLAC", subtype="PCM_16"
    )
    return buffer.getvalue()
