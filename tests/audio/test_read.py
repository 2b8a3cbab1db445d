import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.audio.read import AudioInfo, probe_audio, read_audio
from asr.errors import InputError

RATE_HZ = 16000
LOSSLESS = ("wav", "flac", "aiff")
LOSSY = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}


def tone(num_samples: int = RATE_HZ) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / RATE_HZ)).astype(np.float32)


def noise(num_samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], rate_hz: int = RATE_HZ) -> Path:
    container, subtype = LOSSY.get(path.suffix[1:], (None, "PCM_16"))
    soundfile.write(path, samples, rate_hz, format=container, subtype=subtype)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_give_the_16_bit_samples(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", tone())
    waveform = read_audio(path)
    assert waveform.sample_rate_hz == RATE_HZ
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.shape == (RATE_HZ,)
    np.testing.assert_allclose(waveform.samples, tone(), atol=2**-15)
    assert waveform.duration_s == 1.0


@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_formats_give_the_same_sound_at_the_same_time(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", tone())
    samples = read_audio(path).samples
    assert samples.shape == (RATE_HZ,)
    assert np.corrcoef(samples, tone())[0, 1] > 0.99
    assert probe_audio(path) == AudioInfo(RATE_HZ, RATE_HZ, 1)


@pytest.mark.parametrize("rate_hz", [7350, 8000, 11025, 22050, 44100, 48000, 96000])
def test_keeps_the_sample_rate_of_the_file(tmp_path: Path, rate_hz: int) -> None:
    path = write(tmp_path / "a.wav", tone(rate_hz // 2), rate_hz)
    assert read_audio(path).sample_rate_hz == rate_hz
    assert probe_audio(path) == AudioInfo(rate_hz, rate_hz // 2, 1)
    assert probe_audio(path).duration_s == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("num_channels", "num_samples"), [(2, 5000), (8, 200_000), (300, 5000)])
def test_averages_channels(tmp_path: Path, num_channels: int, num_samples: int) -> None:
    channels = np.random.default_rng(0).uniform(-1, 1, (num_samples, num_channels))
    path = tmp_path / "a.wav"
    soundfile.write(path, channels, RATE_HZ, subtype="FLOAT")
    assert probe_audio(path).num_channels == num_channels
    np.testing.assert_allclose(read_audio(path).samples, channels.mean(axis=1), atol=1e-6)
    part = read_audio(path, start_s=0.1, duration_s=0.2).samples
    np.testing.assert_allclose(part, channels[1600:4800].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("suffix", [*LOSSLESS, *LOSSY])
def test_a_stretch_equals_the_slice_of_the_whole(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(RATE_HZ))
    whole = read_audio(path).samples
    part = read_audio(path, start_s=0.4, duration_s=0.25).samples
    np.testing.assert_allclose(part, whole[6400:10400], atol=1e-6)
    np.testing.assert_allclose(read_audio(path, start_s=0.9).samples, whole[14400:], atol=1e-6)
    assert len(read_audio(path, start_s=0.9, duration_s=5.0).samples) == 1600


@pytest.mark.parametrize(
    "stretch", [(1.0, None), (7.0, 1.0), (-0.5, None), (0.5, 0.0), (0.5, -1.0)]
)
def test_a_stretch_without_audio(tmp_path: Path, stretch: tuple[float, float | None]) -> None:
    path = write(tmp_path / "a.wav", tone())
    with pytest.raises(InputError, match=r"a\.wav: no audio from .* the file is 1\.00 s long"):
        read_audio(path, start_s=stretch[0], duration_s=stretch[1])


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone())
    for name in ("a.wav", "a.raw", "a.mp3", "Äudio, no suffix"):
        renamed = path.rename(tmp_path / name)
        assert len(read_audio(renamed).samples) == RATE_HZ
        path = renamed


@pytest.mark.skipif("ASR_SPEECH_DIR" not in os.environ, reason="no folder of real speech")
@pytest.mark.parametrize("suffix", ["flac", "opus"])
def test_real_speech(suffix: str) -> None:
    paths = sorted(Path(os.environ["ASR_SPEECH_DIR"]).rglob(f"*.{suffix}"))[:20]
    assert paths
    for path in paths:
        waveform, info = read_audio(path), probe_audio(path)
        assert len(waveform.samples) == info.num_samples
        assert 0.001 < np.sqrt(np.mean(waveform.samples**2)) < 0.5
        middle = read_audio(path, start_s=info.duration_s / 2).samples
        np.testing.assert_allclose(
            middle, waveform.samples[-len(middle) :], atol=5e-3
        )  # Opus starts afresh
