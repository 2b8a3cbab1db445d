"""Damaged files of every format: one line about each, soon and in little memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.audio.read import check_audio, probe_audio, read_audio, stream_audio
from asr.errors import InputError
from tests.mutations import mutated_audio

from .recordings import encoded, speech_like

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float wav": ("WAV", "FLOAT"),
    "gsm wav": ("WAV", "GSM610"),
    "adpcm wav": ("WAV", "IMA_ADPCM"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "alac": ("CAF", "ALAC_16"),
    "au": ("AU", "PCM_16"),
    "sphere": ("NIST", "PCM_16"),
}
NUM_MUTATIONS = 20  # of each


def failure(read: Callable[[], object]) -> str:
    """What a reader says of a file that it refuses; nothing where it reads it."""
    try:
        read()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FORMATS)
def test_no_file_is_too_damaged_to_be_named(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rate_hz = 8000 if name == "gsm wav" else 16000
    sound = encoded(speech_like(1.5, rate_hz=rate_hz), *FORMATS[name], rate_hz)
    path = tmp_path / "a"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.monotonic()
    for seed in range(NUM_MUTATIONS):
        path.write_bytes(mutated_audio(sound, random.Random(f"{name} {seed}")))
        for read in (
            lambda: probe_audio(path),
            lambda: check_audio(path),
            lambda: read_audio(path, start_s=0.5, duration_s=0.5),
            lambda: list(stream_audio(path, strict=False)),
        ):
            said = failure(read)
            assert said.startswith(f"{path}: ") or not said
            assert "\n" not in said
    assert time.monotonic() - began_s < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200 * 1024
    assert capfd.readouterr() == ("", "")
