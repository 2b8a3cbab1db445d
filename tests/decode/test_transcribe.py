"""Files to transcripts, with a tiny random model: shapes, times and chunks, not words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asr
from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.decode.transcript import Transcript
from asr.errors import InputError
from asr.model.package import ModelPackage, load_package
from asr.types import Waveform
from tests.model.configs import SAMPLE_RATE_HZ, changed

from .package import noise, read_frames, save_tiny_package, write_noise

FRAME = 320  # samples: four shifts of 10 ms at 8 kHz
WINDOW = 200
same_package = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


def transcriber(
    package: ModelPackage, chunk_s: float = 30.0, overlap_s: float = 4.0
) -> Transcriber:
    return Transcriber(package, GreedyDecoder(), chunk_s=chunk_s, overlap_s=overlap_s)


def num_frames(num_samples: int) -> int:
    """What the whole audio gives in one piece, counted by hand."""
    num_features = 1 + max(0, num_samples - WINDOW) // (FRAME // 4)
    return math.ceil(num_features / 4)


def assert_times_are_sound(transcript: Transcript) -> None:
    bounds_s = [bound for word in transcript.words for bound in (word.start_s, word.end_s)]
    assert bounds_s == sorted(bounds_s)
    assert all(0 <= bound <= transcript.duration_s for bound in bounds_s)
    assert all(word.start_s < word.end_s for word in transcript.words)


@same_package
@given(num_samples=st.integers(1, 8 * FRAME * 10), overlap_frames=st.integers(0, 7))
def test_chunks_give_the_frames_of_the_whole(
    package: ModelPackage, num_samples: int, overlap_frames: int
) -> None:
    waveform = Waveform(noise(num_samples / SAMPLE_RATE_HZ).samples, SAMPLE_RATE_HZ)
    assert len(waveform.samples) == num_samples
    with torch.inference_mode():
        whole_BTV, _ = package.model(
            torch.from_numpy(waveform.samples)[None], torch.tensor([num_samples])
        )
    found = read_frames(package, waveform, chunk_s=8 * 0.04, overlap_s=overlap_frames * 0.04)
    assert len(found) == len(whole_BTV[0]) == num_frames(num_samples)
    assert torch.isfinite(found.scores_T).all()
    if num_frames(num_samples) <= 8:
        assert torch.equal(found.scores_T, whole_BTV[0].max(-1).values)
        assert torch.equal(found.ids_T, whole_BTV[0].max(-1).indices)


def test_a_frame_is_computed_from_its_own_stretch_of_audio(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model replaced by the loudness of every frame, chunks leave no seam."""
    waveform = noise(20.0)

    def loudness(
        waveforms_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        frames_B = torch.tensor([num_frames(int(length)) for length in lengths_B])
        frames = int(frames_B.max())
        padded = torch.nn.functional.pad(waveforms_BN, (0, (frames + 1) * FRAME))
        return padded.unfold(1, FRAME, FRAME)[:, :frames].abs().sum(-1, keepdim=True), frames_B

    monkeypatch.setattr(package.model, "forward", loudness)
    for overlap_s in (0.0, 0.04, 1.0):
        found = read_frames(package, waveform, chunk_s=3.0, overlap_s=overlap_s)
        whole = read_frames(package, waveform, chunk_s=60.0)
        assert torch.equal(found.scores_T, whole.scores_T)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 16_000, 44_100])
def test_any_sample_rate(
    package: ModelPackage, tmp_path: Path, sample_rate_hz: int, suffix: str
) -> None:
    path = write_noise(tmp_path / f"a.{suffix}", 1.5, sample_rate_hz)
    transcript = transcriber(package).transcribe(path)
    assert transcript.audio_path == str(path)
    assert transcript.duration_s == pytest.approx(1.5, abs=0.001)
    assert transcript.text
    assert [word.word for word in transcript.words] == transcript.text.split()
    assert_times_are_sound(transcript)


def test_the_channels_of_a_file_are_mixed(package: ModelPackage, tmp_path: Path) -> None:
    samples = noise(2.0).samples / 2
    soundfile.write(tmp_path / "one.wav", samples, SAMPLE_RATE_HZ, subtype="FLOAT")
    both = np.stack([samples * 1.5, samples * 0.5], axis=1)
    soundfile.write(tmp_path / "two.wav", both, SAMPLE_RATE_HZ, subtype="FLOAT")
    one = transcriber(package).transcribe(tmp_path / "one.wav")
    assert transcriber(package).transcribe(tmp_path / "two.wav").text == one.text


def test_seventy_seconds_are_read_in_chunks(package: ModelPackage, tmp_path: Path) -> None:
    longest = 0
    forward = package.model.frontend.forward

    def watch(
        waveforms_BN: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal longest
        longest = max(longest, waveforms_BN.shape[1])
        return forward(waveforms_BN, lengths_B)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.model.frontend, "forward", watch)
        transcript = transcriber(package).transcribe(
            write_noise(tmp_path / "long.flac", 70.0, 16_000)
        )
    assert 29 * SAMPLE_RATE_HZ < longest < 30.1 * SAMPLE_RATE_HZ
    assert transcript.duration_s == 70.0
    assert transcript.words[-1].end_s > 65
    assert_times_are_sound(transcript)


@pytest.mark.parametrize("num_samples", [1, 199, 200, 201, 320])
def test_a_blink_of_audio_is_one_frame(package: ModelPackage, num_samples: int) -> None:
    waveform = Waveform(noise(1.0).samples[:num_samples], SAMPLE_RATE_HZ)
    assert len(read_frames(package, waveform, chunk_s=30.0)) == 1


def test_times_follow_the_samples_where_a_shift_is_not_a_whole_number_of_them(
    tmp_path: Path,
) -> None:
    """At 11,025 Hz a shift of 10 ms is 110 samples, so a frame lasts 39.909 ms, not 40."""
    config = changed("features.fbank.sample_rate_hz", 11_025)
    package = load_package(save_tiny_package(tmp_path / "model", config))
    assert transcriber(package).labeller.frame_shift_s == pytest.approx(440 / 11_025)
    waveform = noise(30.0, 11_025)
    with torch.inference_mode():
        whole_BTV, _ = package.model(
            torch.from_numpy(waveform.samples)[None], torch.tensor([len(waveform.samples)])
        )
    assert len(read_frames(package, waveform, chunk_s=2.0)) == whole_BTV.shape[1]


@pytest.mark.parametrize(
    ("chunk_s", "overlap_s", "said"),
    [
        (0.0, 0.0, "chunk of 0 s; allowed: above 0 s"),
        (-3.0, 0.0, "chunk of -3 s"),
        (math.nan, 0.0, "chunk of nan s"),
        (math.inf, 0.0, "chunk of inf s"),
        (10.0, 10.0, "overlap of 10 s; allowed: 0 to below the chunk, 10 s"),
        (10.0, -1.0, "overlap of -1 s"),
        (10.0, math.nan, "overlap of nan s"),
    ],
)
def test_a_chunk_is_longer_than_its_overlap(
    package: ModelPackage, chunk_s: float, overlap_s: float, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        transcriber(package, chunk_s, overlap_s)


def test_a_chunk_shorter_than_a_frame_is_one_frame(package: ModelPackage) -> None:
    found = read_frames(package, noise(0.5), chunk_s=0.01)
    assert len(found) == num_frames(round(0.5 * SAMPLE_RATE_HZ))


@pytest.mark.parametrize("name", ["missing.wav", "empty.wav"])
def test_a_bad_file_is_named(package: ModelPackage, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match=name):
        transcriber(package).transcribe(tmp_path / name)


def test_the_library_is_one_call(tmp_path: Path) -> None:
    folder = save_tiny_package(tmp_path / "model")
    path = write_noise(tmp_path / "a.wav", 1.0, SAMPLE_RATE_HZ)
    expected = transcriber(load_package(folder)).transcribe(path)
    assert asr.load(folder, dtype="float32").transcribe(str(path)) == expected
    with pytest.raises(asr.InputError, match="nothing"):
        asr.load(tmp_path / "nothing")
    assert all(hasattr(asr, name) for name in asr.__all__)
