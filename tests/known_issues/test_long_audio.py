"""Bugs we had in cutting long audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.decode.greedy import GreedyDecoder, timed_words
from asr.decode.transcribe import Transcriber
from asr.model.package import load_package
from asr.types import Waveform
from tests.decode.package import noise, read_frames, save_tiny_package
from tests.model.configs import SAMPLE_RATE_HZ, changed


def test_a_rest_shorter_than_a_window_was_a_frame_too_many(tmp_path: Path) -> None:
    """Without overlap the last chunk could hold less than a window, which counts as one frame."""
    package = load_package(save_tiny_package(tmp_path / "model"))
    waveform = Waveform(noise(2.0).samples, SAMPLE_RATE_HZ)
    rest = Waveform(noise(2.01).samples, SAMPLE_RATE_HZ)
    assert len(rest.samples) - len(waveform.samples) < 200  # samples in a window
    assert len(read_frames(package, waveform, chunk_s=1.0)) == 50
    assert len(read_frames(package, rest, chunk_s=1.0)) == 50


@pytest.mark.parametrize("window_ms", [64.0, 100.0])
def test_a_long_window_lost_the_last_frame_of_every_chunk(tmp_path: Path, window_ms: float) -> None:
    """A chunk of whole frames must be followed by the samples its last window reaches into."""
    config = changed("features.fbank.window_ms", window_ms)
    package = load_package(save_tiny_package(tmp_path / "model", config))
    waveform = noise(5.0)
    whole = read_frames(package, waveform, chunk_s=60.0)
    for overlap_s in (0.0, 0.04, 0.5):
        found = read_frames(package, waveform, chunk_s=1.0, overlap_s=overlap_s)
        assert len(found) == len(whole)


def test_times_drifted_where_a_shift_is_no_whole_number_of_samples(tmp_path: Path) -> None:
    """At 11,025 Hz frames were counted as 40 ms, and last 39.909 ms: 8 s too late in an hour."""
    config = changed("features.fbank.sample_rate_hz", 11_025)
    package = load_package(save_tiny_package(tmp_path / "model", config))
    num_frames = len(read_frames(package, noise(60.0, 11_025), chunk_s=1.0))
    frame_shift_s = Transcriber(package, GreedyDecoder()).labeller.frame_shift_s
    assert num_frames * frame_shift_s == pytest.approx(60.0, abs=0.04)


def test_the_last_word_ended_behind_the_audio() -> None:
    """NVIDIA-NeMo/Speech#8172 and others ask for times that lie within the file."""
    (word,) = timed_words(["▁A"], [0], [1], 0.04, duration_s=0.025)
    assert (word.start_s, word.end_s) == (0.0, 0.025)
