from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.ffmpeg import container
from asr.audio.memory import as_audio
from asr.audio.read import check_audio, probe_audio, read_audio, stream_audio
from asr.audio.source import ByteSource
from asr.audio.write import write_audio
from asr.errors import InputError
from asr.types import Waveform

RATE_HZ = 16_000
KINDS = ("m4a", "mp4", "mov", "webm", "mkv", "avi", "ts", "aac", "wma", "wv")
with_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program FFmpeg")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Two seconds of a tone, as WAV."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    samples = (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    write_audio(tmp_path / "tone.wav", Waveform(samples, RATE_HZ))
    return tmp_path / "tone.wav"


def converted(wav: Path, suffix: str, *options: str) -> Path:
    path = wav.with_suffix(f".{suffix}")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(wav), *options, str(path)]
    subprocess.run(command, check=True)
    return path


def frequency_hz(waveform: Waveform) -> float:
    spectrum = np.abs(np.fft.rfft(waveform.samples))
    return float(np.argmax(spectrum)) * waveform.sample_rate_hz / len(waveform.samples)


@with_ffmpeg
@pytest.mark.parametrize("suffix", KINDS)
def test_its_audio_is_read(wav: Path, suffix: str) -> None:
    path = converted(wav, suffix)
    waveform = read_audio(path)
    assert len(waveform.samples) / waveform.sample_rate_hz == pytest.approx(2.0, abs=0.15)
    assert frequency_hz(waveform) == pytest.approx(440, abs=1)
    assert probe_audio(path).num_samples == len(waveform.samples)


@with_ffmpeg
def test_bytes_streams_and_open_files_are_read_as_well(wav: Path) -> None:
    path = converted(wav, "webm")
    with path.open("rb") as file:
        for audio in (path.read_bytes(), file):
            source = as_audio(audio)
            assert isinstance(source, ByteSource)
            for _ in range(2):
                blocks = list(stream_audio(source))
                assert sum(len(one.samples) for one in blocks) == 2 * blocks[0].sample_rate_hz


@with_ffmpeg
def test_channels_are_kept(wav: Path) -> None:
    samples, rate_hz = soundfile.read(wav)
    soundfile.write(wav, np.stack([samples, np.zeros_like(samples)], axis=1), rate_hz)
    path = converted(wav, "m4a")
    assert probe_audio(path).num_channels == 2
    left, right = (read_audio(path, channel=number).samples for number in (1, 2))
    assert np.abs(left).max() > 0.2
    assert np.abs(right).max() < 1e-3


@with_ffmpeg
def test_a_file_that_is_cut_is_damaged(wav: Path) -> None:
    path = converted(wav, "mkv", "-c:a", "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"tone\.mkv: damaged or cut short \(FFmpeg: "):
        check_audio(path)
    found: list[str] = []
    blocks = list(stream_audio(path, strict=False, notify=found.append))
    assert 0.5 < sum(len(one.samples) for one in blocks) / RATE_HZ < 1.9
    assert len(found) == 1


@with_ffmpeg
def test_a_video_without_sound_is_named(wav: Path) -> None:
    path = converted(wav, "mp4", "-f", "lavfi", "-i", "color=s=16x16:d=0.2", "-map", "1:v")
    with pytest.raises(InputError, match=r"tone\.mp4: FFmpeg finds no audio in it"):
        read_audio(path)


@with_ffmpeg
def test_other_files_are_not_followed(wav: Path, tmp_path: Path) -> None:
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXTINF:2,\nfile://{wav}\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{wav}'\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="not readable as audio"):
            read_audio(tmp_path / name)


def test_without_the_program_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(2000))
    with pytest.raises(InputError, match=r"a\.m4a: needs the program FFmpeg, which is not inst"):
        probe_audio(tmp_path / "a.m4a")


def test_what_libsndfile_reads_is_none_of_its_kinds(wav: Path) -> None:
    assert container(wav.read_bytes()[:1024]) is None
    for head in (b"OggS" + bytes(24) + b"OpusHead", b"fLaC", b"ID3\x04", b"FORM\0\0\0\0AIFF", b""):
        assert container(head) is None
    assert container((b"G" + bytes(187)) * 5) == "mpegts"
