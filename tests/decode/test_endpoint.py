"""Segments of streams end where the rules say, and lose no frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.decode.endpoint import NOTHING, Endpoint, SegmentReader
from asr.decode.greedy import GreedyDecoder
from asr.errors import InputError

SHIFT_S = 0.04
VOCAB_SIZE = 4
RULES = Endpoint(pause_s=0.4, nothing_s=0.8, longest_s=2.0)  # 10, 20 and 50 frames


def reader_of(search: GreedyDecoder) -> SegmentReader:
    return SegmentReader(search, RULES, frame_shift_s=SHIFT_S, vocab_size=VOCAB_SIZE)


def outputs(ids: list[int]) -> Tensor:
    """Log probabilities (T, V) of frames that hold these tokens, 0 the blank."""
    probs_TV = torch.full((len(ids), VOCAB_SIZE), 0.02)
    probs_TV[torch.arange(len(ids)), torch.tensor(ids)] = 1 - 0.02 * (VOCAB_SIZE - 1)
    return probs_TV.log()


def read(reader: SegmentReader, ids: list[int], size: int) -> list[tuple[int, tuple[int, ...]]]:
    """The first frame and the tokens of every segment of frames that come ``size`` at a time."""
    ended = []
    for first in range(0, len(ids), size):
        ended += reader.take(outputs(ids[first : first + size]))
    ended += reader.end()
    return [(first, reader.search.collapse(labels).token_ids) for first, labels in ended]


@pytest.mark.parametrize("search", [GreedyDecoder(), BeamDecoder(beam=4)])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_pause_ends_a_segment(search: GreedyDecoder, size: int) -> None:
    ids = [0] * 3 + [1, 1, 2] + [0] * 14 + [3, 0, 1] + [0] * 5
    reader = reader_of(search)
    found = read(reader, ids, size)
    assert [tokens for _, tokens in found] == [(1, 2), (3, 1)]
    assert [first for first, _ in found] == [0, 16], "wherever blocks end"
    assert sum(map(len, reader.done)) == len(ids)


def test_long_silence_is_forgotten() -> None:
    reader = reader_of(GreedyDecoder())
    for _ in range(13):
        assert reader.take(outputs([0] * 5)) == []
        assert reader.segment.num_frames < 20
    assert read(reader, [2], 1) == [(60, (2,))]
    assert sum(map(len, reader.done)) == 66


def test_a_long_segment_ends_before_its_last_word() -> None:
    ids = ([1] * 4 + [0] * 2) * 12
    reader = reader_of(GreedyDecoder())
    found = read(reader, ids, 1)
    assert [len(tokens) for _, tokens in found] == [8, 4]
    assert [first for first, _ in found] == [0, 48]
    assert sum(map(len, reader.done)) == len(ids)


def test_a_long_segment_ends_between_words() -> None:
    """Tokens 1 begin words, and 2 and 3 go on with them."""
    ids = [1, 0, 2, 0, 3, 0] * 12
    reader = SegmentReader(
        GreedyDecoder(), RULES, frame_shift_s=SHIFT_S, vocab_size=VOCAB_SIZE, word_starts={1}
    )
    found = read(reader, ids, 1)
    assert [tokens for _, tokens in found] == [(1, 2, 3) * 8, (1, 2, 3) * 4]
    assert [first for first, _ in found] == [0, 48]
    one_word = read(reader, [1, 0] + [2, 0] * 50, 1)
    assert [first - 72 for first, _ in one_word] == [0, 48, 96], (
        "before a token, where there is none"
    )


def test_a_token_that_never_ends_is_cut() -> None:
    reader = reader_of(GreedyDecoder())
    found = read(reader, [1] * 120, 1)
    assert [first for first, _ in found] == [0, 50, 100]


def test_the_text_so_far_is_that_of_the_search() -> None:
    reader = reader_of(BeamDecoder(beam=4))
    assert reader.partial() == NOTHING
    reader.take(outputs([1, 0]))
    reader.take(outputs([2, 2]))
    assert reader.partial().token_ids == reader.segment.spelt.token_ids == (1, 2)
    assert reader.partial().token_frames == (0, 2)


@pytest.mark.parametrize("rule", ["pause_s", "nothing_s", "longest_s"])
def test_rules_are_lengths_of_time(rule: str) -> None:
    for value in (0, -1, float("nan")):
        with pytest.raises(InputError, match=f"endpoint.{rule}="):
            Endpoint(**{rule: value})
