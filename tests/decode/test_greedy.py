from __future__ import annotations

from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.greedy import GreedyDecoder

NUM_TOKENS = 4
paths = st.lists(st.integers(0, NUM_TOKENS - 1), min_size=1, max_size=25)


def log_probs_of(path: list[int], *, seed: int = 0) -> Tensor:
    """Log probabilities (T, V) whose best path is ``path``, by random margins."""
    generator = torch.Generator().manual_seed(seed)
    logits_TV = torch.rand(len(path), NUM_TOKENS, generator=generator)
    logits_TV[torch.arange(len(path)), path] += 1.5
    return logits_TV.log_softmax(-1)


def collapse(path: list[int], blank_id: int) -> list[tuple[int, int, int]]:
    """Token, first frame and frame behind every run of equal ids but the blank's, by definition."""
    runs = [list(run) for _, run in groupby(enumerate(path), key=lambda item: item[1])]
    return [(run[0][1], run[0][0], run[-1][0] + 1) for run in runs if run[0][1] != blank_id]


@given(path=paths, blank_id=st.integers(0, NUM_TOKENS - 1))
def test_the_best_path_is_collapsed(path: list[int], blank_id: int) -> None:
    log_probs_TV = log_probs_of(path)
    (found,) = GreedyDecoder(blank_id=blank_id)(log_probs_TV[None], torch.tensor([len(path)]))
    expected = collapse(path, blank_id)
    spans = zip(found.token_ids, found.token_frames, found.token_ends, strict=True)
    assert list(spans) == expected
    by_frame = sum(log_probs_TV[frame, token].item() for frame, token in enumerate(path))
    assert found.score == pytest.approx(by_frame, abs=1e-4)


@given(batch=st.lists(paths, min_size=1, max_size=5), garbage=st.integers(0, NUM_TOKENS - 1))
def test_a_batch_gives_what_each_row_gives_alone(batch: list[list[int]], garbage: int) -> None:
    longest = max(map(len, batch)) + 3
    rows = [log_probs_of(path + [garbage] * (longest - len(path))) for path in batch]
    lengths_B = torch.tensor([len(path) for path in batch])
    decode = GreedyDecoder()
    together = decode(torch.stack(rows), lengths_B)
    alone = [
        decode(row[None, : len(path)], torch.tensor([len(path)]))[0]
        for row, path in zip(rows, batch, strict=True)
    ]
    assert together == alone


def test_frames_behind_the_length_are_not_read() -> None:
    log_probs_TV = log_probs_of([1, 0, 2, 3])
    log_probs_TV[2:] = torch.nan
    (found,) = GreedyDecoder()(log_probs_TV[None], torch.tensor([2]))
    assert (found.token_ids, found.token_frames) == ((1,), (0,))
    assert found.score == pytest.approx(log_probs_TV[:2].max(-1).values.sum().item())


def test_a_repeated_token_needs_a_blank_between() -> None:
    decode = GreedyDecoder()
    (once,) = decode(log_probs_of([1, 1, 1])[None], torch.tensor([3]))
    (twice,) = decode(log_probs_of([1, 0, 1])[None], torch.tensor([3]))
    assert once.token_ids == (1,)
    assert twice.token_ids == (1, 1)


def test_silence_has_no_tokens() -> None:
    (found,) = GreedyDecoder()(log_probs_of([0, 0])[None], torch.tensor([2]))
    assert (found.token_ids, found.token_frames) == ((), ())
