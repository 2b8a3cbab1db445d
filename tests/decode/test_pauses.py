"""Long audio cut in its pauses."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.decode.assembly import Assembly, LabelledAudio
from asr.decode.chunking import Chunk, Chunking
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.labelling import FrameLabeller
from asr.decode.transcribe import Transcriber
from asr.decode.vad import SpeechDetector, energy_speech
from asr.errors import InputError
from asr.model.package import load_package
from asr.types import Waveform

from .package import save_tiny_package

RATE_HZ, FRAME = 1000, 40  # 40 ms


def chunking(
    chunk_s: float, overlap_s: float = 0.4, vad: SpeechDetector = energy_speech
) -> Chunking:
    return Chunking(
        chunk_s=chunk_s,
        overlap_s=overlap_s,
        window_samples=25,
        shift_samples=10,
        subsampling_factor=4,
        sample_rate_hz=RATE_HZ,
        vad=vad,
    )


def speech(duration_s: float, seed: int = 0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=round(duration_s * rate_hz))
    return (0.1 * noise).astype(np.float32)


def joined(parts: list[tuple[float, float]], rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Speech of so many seconds and then a pause, with faint noise all over."""
    sounds = [
        np.concatenate([speech(said_s, i, rate_hz), np.zeros(round(pause_s * rate_hz), np.float32)])
        for i, (said_s, pause_s) in enumerate(parts)
    ]
    audio = np.concatenate(sounds)
    noise = speech(len(audio) / rate_hz, 99, rate_hz)[: len(audio)]
    noisy: NDArray[np.float32] = (audio + 1e-3 * noise).astype(np.float32)
    return noisy


def covered(chunks: list[Chunk], num_samples: int) -> NDArray[np.bool_]:
    found = np.zeros(num_samples, dtype=np.bool_)
    for chunk in chunks:
        first = chunk.start * FRAME
        found[first : first + len(chunk.samples)] = True
    return found


parts = st.tuples(st.floats(0.2, 9), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0, 8.0]))


@settings(max_examples=60)
@given(st.lists(parts, min_size=1, max_size=8), st.integers(50, 9000))
def test_all_speech_is_in_pieces_no_longer_than_a_chunk(
    said: list[tuple[float, float]], block: int
) -> None:
    audio = joined(said)
    cut = chunking(4.0)
    chunks = list(cut([audio[first : first + block] for first in range(0, len(audio), block)]))
    whole = list(cut([audio]))
    assert [chunk.start for chunk in chunks] == [chunk.start for chunk in whole]
    for chunk, other in zip(chunks, whole, strict=True):
        assert np.array_equal(chunk.samples, other.samples)
        assert len(chunk.samples) <= 4 * RATE_HZ + 25
        first = chunk.start * FRAME
        assert np.array_equal(chunk.samples, audio[first : first + len(chunk.samples)])
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(set(starts))
    assert covered(chunks, len(audio))[np.abs(audio) > 0.1].all()


def test_pauses_end_pieces_and_long_silence_is_skipped() -> None:
    audio = joined([(1.0, 0.6), (2.0, 30.0), (1.5, 1.0)])
    chunks = list(chunking(10.0)([audio]))
    starts_s = [chunk.start * 0.04 for chunk in chunks]
    assert starts_s == pytest.approx([0.0, 1.4, 33.4], abs=0.1)
    assert [len(chunk.samples) / RATE_HZ for chunk in chunks] == pytest.approx(
        [1.2, 2.4, 1.9], abs=0.15
    )


def test_pieces_overlap_only_where_there_is_no_pause() -> None:
    audio = joined([(9.0, 1.0), (3.0, 0.2), (3.0, 1.0)])
    spans = [
        (chunk.start * 0.04, chunk.start * 0.04 + len(chunk.samples) / RATE_HZ)
        for chunk in chunking(4.0)([audio])
    ]
    shared = [before[1] - after[0] for before, after in itertools.pairwise(spans)]
    assert [one > 0.3 for one in shared] == [True, True, False, False]
    assert 13.0 <= spans[3][1] <= 13.3, "the longest pause, short as it is"


def test_noise_without_contrast_is_speech() -> None:
    (found,) = energy_speech([speech(5.0)], FRAME)
    assert found.all()


def test_skipped_frames_are_blank_and_silence_has_no_words() -> None:
    assembly = Assembly(GreedyDecoder().blanks)
    assembly.end(0, 60.0)
    for start in (2, 6):
        assembly.expect_chunk(1, start)
        ids = FrameLabels(
            *(GreedyDecoder().blanks(2).scores_T, GreedyDecoder().blanks(2).ids_T + 7)
        )
        assembly.add(1, start, ids)
    assembly.end(1, 0.4)
    silent, said = assembly.finished()
    assert isinstance(silent, LabelledAudio)
    assert isinstance(said, LabelledAudio)
    assert silent.labels.first_ids().tolist() == [0]
    assert said.labels.first_ids().tolist() == [0, 0, 7, 7, 0, 0, 7, 7]


def test_joined_utterances_have_the_words_of_each_alone(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    rate_hz = package.model.frontend.sample_rate_hz
    transcriber = Transcriber(package, GreedyDecoder(), chunk_s=4.0, overlap_s=0.5)
    audio = joined([(1.5, 1.0), (2.5, 0.8), (2.0, 6.0), (1.0, 1.0)], rate_hz)
    transcript = transcriber.transcribe(audio, rate_hz)
    blocks = iter([audio])
    assert isinstance(transcriber.labeller, FrameLabeller)
    pieces = list(transcriber.labeller.chunking(blocks))
    assert len(pieces) == 4
    alone = [transcriber.transcribe(piece.samples, rate_hz) for piece in pieces]
    letters = "".join(one.text for one in alone).replace(" ", "")
    assert transcript.text.replace(" ", "") == letters
    from_labeller = transcriber.read(["a"], [lambda: iter([Waveform(audio, rate_hz)])])
    (other,) = from_labeller
    assert not isinstance(other, InputError)
    assert other.text == transcript.text


def test_an_unknown_detector_is_refused(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    with pytest.raises(InputError, match="vad='loud'; allowed: energy, silero, none"):
        Transcriber(package, GreedyDecoder(), vad="loud")
