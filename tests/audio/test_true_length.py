"""Audio is read to its end, whatever the header says of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.audio.read import check_audio, probe_audio, read_audio, stream_audio
from asr.errors import InputError

from .recordings import RATE_HZ, encoded, mp3, speech_like, with_sizes

W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
FOUR_S = speech_like(4.0)
WAV = encoded(FOUR_S)
AIFF = encoded(FOUR_S, "AIFF")
CAF = encoded(FOUR_S, "CAF")
W64 = encoded(FOUR_S, "W64")
RF64 = encoded(FOUR_S, "RF64")
AU = encoded(FOUR_S, "AU", "PCM_16")
FLAC = encoded(FOUR_S, "FLAC")
MP3 = mp3(FOUR_S, counts_frames=True)
HALF = len(FOUR_S)  # bytes of half the samples
LIST = b"LIST" + struct.pack("<I", 4000) + bytes(4000)


def flac_of(total: int) -> bytes:
    """A FLAC whose header gives this number of samples."""
    return FLAC[:21] + bytes([FLAC[21] & 0xF0]) + struct.pack(">I", total) + FLAC[26:]


WRONG_SIZES = {
    "wav, zero": with_sizes(WAV, (b"RIFF", "<I", 0), (b"data", "<I", 0)),
    "wav, half": with_sizes(WAV, (b"data", "<I", HALF)),
    "wav, greatest": with_sizes(WAV, (b"RIFF", "<I", 0xFFFFFFFF), (b"data", "<I", 0xFFFFFFFF)),
    "wav, 2 GiB": with_sizes(WAV, (b"data", "<I", 0x7FFFFFFF)),
    "rf64, zero": with_sizes(RF64, (b"data", "<I", 0)),
    "rf64, half": RF64[:28] + struct.pack("<Q", HALF) + RF64[36:],
    "w64, zero": with_sizes(W64, (W64_DATA, "<q", 24)),
    "w64, half": with_sizes(W64, (W64_DATA, "<q", 24 + HALF)),
    "aiff, zero": with_sizes(AIFF, (b"COMM\x00\x00\x00\x12\x00\x01", ">I", 0), (b"SSND", ">I", 0)),
    "aiff, half": with_sizes(
        AIFF, (b"COMM\x00\x00\x00\x12\x00\x01", ">I", HALF // 2), (b"SSND", ">I", HALF + 8)
    ),
    "caf, to the end": with_sizes(CAF, (b"data", ">q", -1)),
    "caf, zero": with_sizes(CAF, (b"data", ">q", 0)),
    "caf, half": with_sizes(CAF, (b"data", ">q", HALF + 4)),
    "au, zero": AU[:8] + bytes(4) + AU[12:],
    "au, half": AU[:8] + struct.pack(">I", HALF) + AU[12:],
    "au, unknown": AU[:8] + b"\xff" * 4 + AU[12:],
    "flac, unknown": flac_of(0),
    "flac, half": flac_of(HALF // 2),
}


@pytest.mark.parametrize("data", WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_a_header_without_the_right_length(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    assert probe_audio(path).num_samples == len(FOUR_S)
    np.testing.assert_allclose(read_audio(path).samples, FOUR_S, atol=2**-15)
    part = read_audio(path, start_s=3.0, duration_s=0.5).samples
    np.testing.assert_allclose(part, FOUR_S[3 * RATE_HZ :][: RATE_HZ // 2], atol=2**-15)


@pytest.mark.parametrize(
    "tail", [LIST, LIST * 2, b"TAG" + bytes(125), b"id3 " + LIST[4:], bytes(100), LIST[:2000]]
)
def test_what_follows_the_samples_is_none(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAV + tail)
    assert probe_audio(path).num_samples == len(FOUR_S)
    np.testing.assert_allclose(read_audio(path).samples, FOUR_S, atol=2**-15)


def test_an_adaptive_coding_without_its_size(tmp_path: Path) -> None:
    data = encoded(FOUR_S, "WAV", "IMA_ADPCM")
    (tmp_path / "a.wav").write_bytes(data)
    (tmp_path / "b.wav").write_bytes(with_sizes(data, (b"data", "<I", 0)))
    sound, mended = (read_audio(tmp_path / name).samples for name in ("a.wav", "b.wav"))
    np.testing.assert_array_equal(sound, mended)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_an_mp3_whose_frames_nobody_counted(tmp_path: Path, rate_hz: int) -> None:
    """Quiet, then loud: the length that the first frame suggests is far off."""
    samples = speech_like(6.0, rate_hz=rate_hz)
    samples[: len(samples) // 2] *= 1e-4
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(samples, counts_frames=False, rate_hz=rate_hz))
    waveform = read_audio(path)
    assert waveform.duration_s == pytest.approx(6.0, abs=0.1)
    assert probe_audio(path).duration_s == waveform.duration_s
    late = read_audio(path, start_s=5.0, duration_s=0.5).samples
    np.testing.assert_allclose(late, waveform.samples[5 * rate_hz :][: len(late)], atol=1e-4)


@pytest.mark.parametrize("padding", [bytes(5000), b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\0\x02hi"])
def test_an_mp3_with_something_behind_it(tmp_path: Path, padding: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(FOUR_S, counts_frames=False) + padding)
    assert read_audio(path).duration_s == pytest.approx(4.0, abs=0.1)


JOINED: dict[str, Callable[[NDArray[np.float32]], bytes]] = {
    "mp3": lambda samples: mp3(samples, counts_frames=True),
    "mp3, not counted": lambda samples: mp3(samples, counts_frames=False),
    "vorbis": lambda samples: encoded(samples, "OGG", "VORBIS"),
    "opus": lambda samples: encoded(samples, "OGG", "OPUS"),
    "flac": lambda samples: encoded(samples, "FLAC"),
    "wav": encoded,
}


@pytest.mark.parametrize("kind", JOINED)
def test_joined_recordings_are_read_one_after_another(tmp_path: Path, kind: str) -> None:
    seeds = (0, 1, 0)  # the last one is a copy of the first, serial numbers and all
    files = [JOINED[kind](speech_like(2.0, seed)) for seed in seeds]
    alone = []
    for number, data in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)
        alone.append(read_audio(tmp_path / str(number)).samples)
    joined = tmp_path / "joined"
    joined.write_bytes(b"".join(files))
    samples = read_audio(joined).samples
    assert len(samples) == pytest.approx(6 * RATE_HZ, abs=0.25 * RATE_HZ)
    assert probe_audio(joined).num_samples == len(samples)
    if kind != "mp3, not counted":  # which is one stream to any decoder
        np.testing.assert_allclose(samples, np.concatenate(alone), atol=1e-6)
        # from the middle of the first to the middle of the last
        part = read_audio(joined, start_s=1.0, duration_s=4.0).samples
        np.testing.assert_allclose(part, samples[RATE_HZ : 5 * RATE_HZ], atol=1e-4)


def test_joined_recordings_of_different_rates(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(speech_like(1.0)) + encoded(speech_like(1.0, 1, 8000), rate_hz=8000))
    assert probe_audio(path).duration_s == 2.0
    waveform = read_audio(path)
    assert (waveform.sample_rate_hz, waveform.duration_s) == (RATE_HZ, 2.0)
    assert check_audio(path).duration_s == 2.0


def test_a_codec_that_cannot_seek(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = speech_like(3.0, rate_hz=8000)
    path.write_bytes(encoded(samples, "WAV", "GSM610", 8000))
    whole = read_audio(path)
    assert whole.duration_s == pytest.approx(3.0, abs=0.05)
    part = read_audio(path, start_s=2.0, duration_s=0.5)
    np.testing.assert_array_equal(part.samples, whole.samples[16000:20000])


def lenient(path: Path) -> tuple[float, str]:
    """Seconds that are read, and what is said of it."""
    notices: list[str] = []
    blocks = stream_audio(path, strict=False, notify=notices.append)
    duration_s = sum(block.duration_s for block in blocks)
    return duration_s, "; ".join(notices)


DAMAGED = {
    "half a wav": (WAV[: len(WAV) // 2], 2.0, "cut short: holds 2.00 s of the 4.00 s"),
    "half a flac": (FLAC[: len(FLAC) // 2], 1.9, "decodes up to 1."),
    "half an mp3": (MP3[:8000], 1.9, "cut short: holds 1."),
    "half an ogg": (encoded(FOUR_S, "OGG", "VORBIS")[:12000], 1.0, "cut short within its last"),
    "a hole in an mp3": (
        mp3(FOUR_S, counts_frames=True)[:6000]
        + b"U" * 3000
        + mp3(FOUR_S, counts_frames=True)[9000:],
        3.2,
        "bytes there are no MPEG audio",
    ),
}


@pytest.mark.parametrize(("data", "least_s", "said"), DAMAGED.values(), ids=DAMAGED)
def test_what_decodes_is_read_and_what_does_not_is_told(
    tmp_path: Path, data: bytes, least_s: float, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    duration_s, notice = lenient(path)
    assert least_s - 0.3 < duration_s < 4.0
    assert said in notice
    with pytest.raises(InputError, match=r"damaged|cut short"):
        read_audio(path)
    assert capfd.readouterr().err == ""  # libmpg123 writes lines of its own


def test_channels_that_cancel_are_noticed(tmp_path: Path) -> None:
    speech = speech_like(1.0)
    for name, other, cancels in (
        ("inverted", -speech, True),
        ("nearly", -0.8 * speech, True),
        ("same", speech, False),
        ("silent", 0 * speech, False),
        ("another", speech_like(1.0, 1), False),
    ):
        path = tmp_path / name
        path.write_bytes(encoded(np.stack([speech, other], axis=1)))
        notices = check_audio(path).notices
        assert len(notices) == cancels, name
        assert all("channels cancel one another" in notice for notice in notices)
        for channel, samples in ((1, speech), (2, other)):
            one = read_audio(path, channel=channel).samples
            np.testing.assert_allclose(one, samples, atol=2**-15)
    with pytest.raises(InputError, match="has no channel 3; it has 1 to 2"):
        read_audio(path, channel=3)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "mp3, not counted", "vorbis"])
def test_a_late_stretch_is_not_decoded_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(JOINED[kind](speech_like(20.0)))
    asked = 0

    def read(decoder: Any, num_samples: int, **options: Any) -> NDArray[np.float32]:
        nonlocal asked
        asked += num_samples
        samples: NDArray[np.float32] = soundfile.SoundFile.read(decoder, num_samples, **options)
        return samples

    monkeypatch.setattr("asr.audio.open._Decoder.read", read)
    assert read_audio(path, start_s=18.0, duration_s=1.0).duration_s == 1.0
    assert asked == RATE_HZ
