from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.read import decode_audio, read_audio
from asr.audio.write import encode_flac, write_audio
from asr.errors import InputError
from asr.types import Waveform

SAMPLES = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_audio(path, Waveform(SAMPLES, 22050))
    waveform = read_audio(path)
    assert waveform.sample_rate_hz == 22050
    np.testing.assert_allclose(waveform.samples, SAMPLES, atol=2**-15)
    assert soundfile.info(path).subtype == "PCM_16"
    content = path.read_bytes()
    write_audio(path, Waveform(SAMPLES, 22050))
    assert path.read_bytes() == content


def test_bytes_are_those_of_a_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.flac", Waveform(SAMPLES, 22050))
    data = encode_flac(Waveform(SAMPLES, 22050))
    decoded = decode_audio(data, "some bytes")
    assert decoded.sample_rate_hz == 22050
    np.testing.assert_array_equal(decoded.samples, read_audio(tmp_path / "a.flac").samples)
    for damaged in (data[: len(data) // 2], b"", b"no audio"):
        with pytest.raises(InputError, match=r"^some bytes: "):
            decode_audio(damaged, "some bytes")


def test_clips_what_does_not_fit(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", Waveform(np.array([2.0, -2.0, 0.5], np.float32), 16000))
    samples = read_audio(tmp_path / "a.wav").samples
    np.testing.assert_allclose(samples, [1.0, -1.0, 0.5], atol=2**-14)


def test_other_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.mp3: audio is written as \.flac or \.wav"):
        write_audio(tmp_path / "a.mp3", Waveform(SAMPLES, 16000))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/a\.wav: cannot be written"):
        write_audio(tmp_path / "none" / "a.wav", Waveform(SAMPLES, 16000))
