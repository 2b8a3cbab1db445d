from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.decode.beam import BeamDecoder
from asr.decode.early_words import EarlyWords, FinalWords
from asr.decode.greedy import FrameLabels, GreedyDecoder, TimedWord, timed_words
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.model.package import load_package
from asr.text.tokenizer import Tokenizer

from .package import TEXTS, noise, save_tiny_package, talkative

TOKENIZER = Tokenizer.train(TEXTS, kind="char", vocab_size=30)
SHIFT_S = 0.04


@given(
    ids=st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_all_but_the_last_word_with_the_times_of_the_whole(ids: list[int], cuts: list[int]) -> None:
    path = FrameLabels(torch.full((len(ids),), -0.1), torch.tensor(ids, dtype=torch.int64))
    early = EarlyWords(GreedyDecoder(), TOKENIZER, SHIFT_S)
    borders = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    told: list[TimedWord] = []
    for first, stop in itertools.pairwise(borders):
        told += early.take(5, path[first:stop])
    found = GreedyDecoder().collapse(path)
    whole = timed_words(
        TOKENIZER.surfaces(found.token_ids),
        found.token_frames,
        found.token_ends,
        SHIFT_S,
        len(ids) * SHIFT_S,
        found.token_scores,
    )
    assert told == whole[:-1]


@pytest.mark.parametrize("search", [GreedyDecoder(), BeamDecoder(beam=3)], ids=["greedy", "beam"])
@pytest.mark.parametrize("vad", ["energy", "none"])
def test_words_of_files_come_early_and_are_those_of_the_whole(
    tmp_path: Path, search: Any, vad: str
) -> None:
    package = talkative(load_package(save_tiny_package(tmp_path / "model")))
    transcriber = Transcriber(package, search, chunk_s=1.5, overlap_s=0.5, batch_s=3.0, vad=vad)
    audio = [noise(duration_s, seed=seed) for seed, duration_s in enumerate((12.0, 1.0, 9.0))]
    told: defaultdict[int, list[TimedWord]] = defaultdict(list)

    def heard(found: FinalWords) -> None:
        assert found.channel is None
        told[found.recording] += found.words

    for number, found in enumerate(transcriber.each(audio, heard=heard)):
        assert not isinstance(found, InputError)
        early = told[number]
        assert list(found[0].words[: len(early)]) == early
        if audio[number].duration_s > 3:
            assert len(early) > len(found[0].words) / 2


def test_a_recording_that_is_not_wanted_any_more_ends(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    transcriber = Transcriber(package, GreedyDecoder())
    audio: list[Any] = [noise(2.0), noise(3.0), noise(2.0)]
    found = list(transcriber.each(audio, is_wanted=lambda number: number != 1))
    assert isinstance(found[1], InputError)
    assert "not wanted any more" in str(found[1])
    assert all(isinstance(found[number], tuple) for number in (0, 2))
