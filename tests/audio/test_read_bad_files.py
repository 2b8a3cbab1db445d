from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.read import probe_audio, read_audio
from asr.errors import InputError

RATE_HZ = 16000
Make = Callable[[Path], Path]


def audio(name: str, *, duration_s: float = 1.0, rate_hz: int = RATE_HZ) -> Make:
    def make(folder: Path) -> Path:
        samples = np.random.default_rng(0).normal(0, 0.1, round(duration_s * rate_hz))
        soundfile.write(folder / name, samples, rate_hz)
        return folder / name

    return make


def cut(make: Make, *, num_bytes: int | None = None) -> Make:
    """The first half of the file, or its first ``num_bytes``."""

    def make_cut(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: num_bytes or len(content) // 2])
        return path

    return make_cut


def overwritten(make: Make, *patches: tuple[int, bytes]) -> Make:
    """The file with other bytes at these places."""

    def make_overwritten(folder: Path) -> Path:
        path = make(folder)
        content = bytearray(path.read_bytes())
        for place, patch in patches:
            content[place : place + len(patch)] = patch
        path.write_bytes(content)
        return path

    return make_overwritten


def written(name: str, content: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def with_sample(value: float, *, num_channels: int = 1) -> Make:
    """Float audio with one odd sample, at a quarter of a second in the last channel."""

    def make(folder: Path) -> Path:
        samples = np.zeros((RATE_HZ, num_channels))
        samples[RATE_HZ // 4, -1] = value
        soundfile.write(folder / "a.wav", samples, RATE_HZ, subtype="FLOAT")
        return folder / "a.wav"

    return make


# Bytes 21 to 25 of a FLAC file hold four bits of something else and 36 bits of length.
ENDLESS_FLAC = overwritten(audio("a.flac"), (21, b"\xff" * 5))
JUNK = np.random.default_rng(0).bytes(2000)
TEXT = "not a sound\n" * 100

HEADER_TELLS = {
    "missing": (lambda folder: folder / "a.wav", "no such audio file"),
    "folder": (lambda folder: folder, "is a folder; give an audio file"),
    "below a file": (lambda folder: written("a", "b")(folder) / "a.wav", "cannot be opened"),
    "empty": (written("a.wav", ""), r"\(the file is empty\); give an intact wav, flac"),
    "text.wav": (written("a.wav", TEXT), r"not readable as audio \(Format not recognised\)"),
    "text.mp3": (written("a.mp3", TEXT), r"not readable as audio \(Format not recognised\)"),
    "text.raw": (written("a.raw", TEXT), r"not readable as audio \(Format not recognised\)"),
    "head of a wav": (cut(audio("a.wav"), num_bytes=40), "No 'data' chunk"),
    "head of a flac": (cut(audio("a.flac"), num_bytes=40), "not readable as audio"),
    "zero-length wav": (audio("a.wav", duration_s=0), "audio of length zero"),
    "zero-length flac": (audio("a.flac", duration_s=0), "not readable as audio"),
    "zero-length ogg": (audio("a.ogg", duration_s=0), "audio of length zero"),
    "half a wav": (cut(audio("a.wav")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "half an aiff": (cut(audio("a.aiff")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "slow": (audio("a.wav", rate_hz=10), "sample rate of 10 Hz; it must be 1000 Hz to 1000000 Hz"),
    "half an mp3": (cut(audio("a.mp3", duration_s=3)), r"cut short: holds 1\.\d+ s of the 3\.00 s"),
    "half an ogg": (cut(audio("a.ogg", duration_s=3)), "cut short within its last page"),
    "half a caf": (cut(audio("a.caf")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "half a w64": (cut(audio("a.w64")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "half an rf64": (cut(audio("a.rf64")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "half an au": (cut(audio("a.au")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
    "half a sphere": (cut(audio("a.nist")), r"cut short: holds 0\.\d+ s of the 1\.00 s"),
}
DECODING_TELLS = {
    "half a flac": (cut(audio("a.flac")), r"decodes up to 0\.\d+ s of the 1\.00 s .*lost sync"),
    "junk in a flac": (
        overwritten(audio("a.flac", duration_s=3), (50_000, JUNK)),
        r"decodes up to 1\.\d\d s of the 3\.00 s its header promises \(flac decoder lost sync\)",
    ),
    "junk in an ogg": (
        overwritten(audio("a.ogg", duration_s=3), (9000, JUNK)),
        r"damaged or cut short: decodes up to \d\.\d\d s of the 3\.00 s",
    ),
    "endless flac": (ENDLESS_FLAC, "not readable|memory|cut short"),
    "nan": (with_sample(np.nan), r"NaN or infinite sample at 0\.250 s"),
    "inf": (with_sample(-np.inf, num_channels=3), r"NaN or infinite sample at 0\.250 s"),
}


@pytest.mark.parametrize(("make", "reason"), HEADER_TELLS.values(), ids=HEADER_TELLS)
@pytest.mark.parametrize("read", [probe_audio, read_audio])
def test_the_header_tells(
    tmp_path: Path, make: Make, reason: str, read: Callable[[Path], object]
) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=reason) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("make", "reason"), DECODING_TELLS.values(), ids=DECODING_TELLS)
def test_decoding_tells(tmp_path: Path, make: Make, reason: str) -> None:
    path = make(tmp_path)
    assert probe_audio(path).num_samples >= RATE_HZ
    with pytest.raises(InputError, match=reason) as raised:
        read_audio(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_stretch_beside_the_bad_sample_is_read(tmp_path: Path) -> None:
    path = with_sample(np.nan)(tmp_path)
    assert len(read_audio(path, start_s=0.5).samples) == RATE_HZ // 2


def test_a_wav_that_was_streamed_is_read(tmp_path: Path) -> None:
    """Writers to a pipe cannot know the sizes of the chunks and put the greatest one."""
    make = overwritten(audio("a.wav"), (4, b"\xff" * 4), (40, b"\xff" * 4))
    assert len(read_audio(make(tmp_path)).samples) == RATE_HZ
