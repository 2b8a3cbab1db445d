"""Audio of every kind that people have: transcribed, or refused in one line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.audio.recordings import speech_like
from tests.decode.package import save_tiny_package

from .runs import Command

RATE_HZ = 8000
Make = Callable[[Path], object]
SOUND: NDArray[np.float32] = (0.3 * speech_like(2.0, rate_hz=RATE_HZ)).astype(np.float32)


def sound(
    subtype: str = "PCM_16",
    *,
    samples: NDArray[np.float32] = SOUND,
    rate_hz: int = RATE_HZ,
    container: str = "WAV",
    channels: int = 1,
) -> Make:
    """Writes samples in a coding, whatever the name of the file."""
    data = samples if channels == 1 else np.repeat(samples[:, None], channels, axis=1)
    return lambda path: soundfile.write(path, data, rate_hz, format=container, subtype=subtype)


def streamed(path: Path) -> None:
    """A WAV whose header says that its length is unknown, as programs write it to a pipe."""
    sound()(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)


def truncated(path: Path) -> None:
    sound()(path)
    path.write_bytes(path.read_bytes()[:20_000])


def silent(path: Path) -> None:
    sound(samples=np.zeros(RATE_HZ, np.float32))(path)


SAME = {  # decoded to the samples of 16 bits, or nearly
    "24 bits": sound("PCM_24"),
    "32 bits": sound("PCM_32"),
    "float": sound("FLOAT"),
    "double": sound("DOUBLE"),
    "stereo": sound(channels=2),
    "five channels": sound(channels=5),
    "FLAC named wav": sound(container="FLAC"),
    "AIFF named wav": sound(container="AIFF"),
    "AU named wav": sound(container="AU"),
    "CAF named wav": sound(container="CAF"),
    "W64 named wav": sound(container="W64"),
    "RF64 named wav": sound(container="RF64"),
    "streamed": streamed,
}
READ = {
    "8 bits": sound("PCM_U8"),
    "mu-law": sound("ULAW"),
    "A-law": sound("ALAW"),
    "IMA ADPCM": sound("IMA_ADPCM"),
    "Microsoft ADPCM": sound("MS_ADPCM"),
    "GSM 6.10": sound("GSM610"),
    "Vorbis named wav": sound("VORBIS", container="OGG"),
    "Opus named wav": sound("OPUS", container="OGG"),
    "MP3 named wav": sound("MPEG_LAYER_III", container="MP3"),
    "11,025 Hz": sound(rate_hz=11_025),
    "44,100 Hz": sound(rate_hz=44_100),
    "192 kHz": sound(rate_hz=192_000),
    "20 ms": sound(samples=SOUND[:160]),
    "one sample": sound(samples=SOUND[:1]),
    "clipped": sound(samples=np.clip(20 * SOUND, -1, 1)),
    "offset": sound(samples=SOUND + 0.4),
    "silent": silent,
}
TOO_SHORT = ("20 ms", "one sample")  # to say how many words the model hears
REFUSED: dict[str, tuple[Make, str]] = {
    "of length zero": (sound(samples=SOUND[:0]), "audio of length zero"),
    "NaN": (sound("FLOAT", samples=np.full(RATE_HZ, np.nan, np.float32)), "NaN or infinite"),
    "empty": (Path.touch, "the file is empty"),
    "text": (lambda path: path.write_text("no sound\n" * 99), "not readable as audio"),
    "folder": (Path.mkdir, "is a folder"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "missing": (lambda path: None, "no such audio file"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "no such audio file"),
    "truncated": (truncated, "cut short"),
}
NAMES = ("two\nlines.wav", "😀 smile.wav", "-dash.wav", "späße.wav", "a;rm -rf $HOME.wav", "%s.wav")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def text(model: Path) -> str:
    """What the sound says."""
    import asr

    found = asr.load(model, dtype="float32").transcribe(SOUND, RATE_HZ).text
    assert found
    return found


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.mark.parametrize("kind", SAME)
def test_kinds_that_change_nothing(
    asr: Command, model: Path, text: str, tmp_path: Path, kind: str
) -> None:
    SAME[kind](tmp_path / "a.wav")
    done = asr("transcribe", tmp_path / "a.wav", "--model", model, "--dtype", "float32")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{text}\n"


@pytest.mark.parametrize("kind", READ)
def test_kinds_that_are_read(asr: Command, model: Path, tmp_path: Path, kind: str) -> None:
    READ[kind](tmp_path / "a.wav")
    done = asr("transcribe", tmp_path / "a.wav", "--model", model)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    if kind not in TOO_SHORT:
        assert bool(done.out.strip()) is (kind != "silent")


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_refused(asr: Command, model: Path, tmp_path: Path, kind: str) -> None:
    make, said = REFUSED[kind]
    make(tmp_path / "a.wav")
    error = asr("transcribe", tmp_path / "a.wav", "--model", model, "--strict").error
    assert f"{tmp_path / 'a.wav'}: " in error
    assert said in error


@pytest.mark.parametrize("name", NAMES)
def test_names(
    asr: Command, model: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sound()(tmp_path / name)
    done = asr("transcribe", "--model", model, "--dtype", "float32", "--out", "out", "--", name)
    assert done.code == 0
    assert Path("out", name).with_suffix(".txt").read_text() == f"{text}\n"
