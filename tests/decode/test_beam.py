from __future__ import annotations

from collections import defaultdict
from itertools import groupby, product
from math import exp, inf, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.decode.greedy import GreedyDecoder
from asr.types import ScoredTokens

Prefix = tuple[int, ...]
NUM_TOKENS = 4


def random_log_probs(frames: int, vocab_size: int, seed: int, *, sharpness: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, vocab_size, generator=generator)
    return (sharpness * logits).log_softmax(-1)


def sums_over_paths(log_probs_TV: Tensor) -> dict[Prefix, float]:
    """The probability of every token sequence, path by path."""
    probs = log_probs_TV.double().exp().tolist()
    sums: dict[Prefix, float] = defaultdict(float)
    for path in product(range(len(probs[0])), repeat=len(probs)):
        spelt = tuple(token for token, _ in groupby(path) if token)
        sums[spelt] += float(
            np.prod([frame[token] for frame, token in zip(probs, path, strict=True)])
        )
    return sums


def search_one(decoder: BeamDecoder, log_probs_TV: Tensor) -> list[ScoredTokens]:
    (found,) = decoder.search(log_probs_TV[None], torch.tensor([len(log_probs_TV)]))
    return found


class Bigram:
    """Random scores of token pairs, with an end; the state is the last token."""

    start = 0

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(NUM_TOKENS, NUM_TOKENS, generator=generator).double()
        self.ends = torch.randn(NUM_TOKENS, generator=generator).double()

    def for_search(self) -> Bigram:
        return self

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.table[states, tokens], tokens.expand_as(states + tokens)

    def finish(self, states: Tensor) -> Tensor:
        return self.ends[states]

    def of(self, prefix: Prefix) -> float:
        pairs = zip((0, *prefix), prefix, strict=False)
        last = prefix[-1] if prefix else 0
        return sum(self.table[pair].item() for pair in pairs) + self.ends[last].item()


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 5), seed=st.integers(0, 999), with_scorer=st.booleans())
def test_a_beam_of_all_prefixes_gives_the_exact_sums(
    frames: int, seed: int, with_scorer: bool
) -> None:
    log_probs_TV = random_log_probs(frames, NUM_TOKENS, seed)
    scorer = Bigram(seed)
    decoder = BeamDecoder(beam=400, tokens_per_frame=None, scorers=[scorer] if with_scorer else [])
    found = search_one(decoder, log_probs_TV)
    sums = sums_over_paths(log_probs_TV)
    assert {one.token_ids for one in found} == set(sums)
    assert len(found) == len(sums)
    for one in found:
        assert exp(one.acoustic) == pytest.approx(sums[one.token_ids], rel=1e-5)
        expected = scorer.of(one.token_ids) if with_scorer else 0.0
        assert one.added == pytest.approx(expected)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def reference_search(log_probs_TV: Tensor, beam: int, scorer: Bigram) -> dict[Prefix, float]:
    """The same search over dictionaries, prefix by prefix."""

    def plus(first: float, second: float) -> float:
        return float(np.logaddexp(first, second))

    def fused(prefix: Prefix) -> float:
        last = prefix[-1] if prefix else 0
        return scorer.of(prefix) - scorer.ends[last].item()

    beams: dict[Prefix, tuple[float, float]] = {(): (0.0, -inf)}
    for frame in log_probs_TV.tolist():
        following: dict[Prefix, list[float]] = defaultdict(lambda: [-inf, -inf])
        for prefix, (blank, token) in beams.items():
            total = plus(blank, token)
            stay = following[prefix]
            stay[0] = plus(stay[0], total + frame[0])
            if prefix:
                stay[1] = plus(stay[1], token + frame[prefix[-1]])
            for one in range(1, NUM_TOKENS):
                source = blank if prefix and prefix[-1] == one else total
                longer = following[(*prefix, one)]
                longer[1] = plus(longer[1], source + frame[one])
        ranked = sorted(following, key=lambda one: -(plus(*following[one]) + fused(one)))
        beams = {
            prefix: (following[prefix][0], following[prefix][1])
            for prefix in ranked[:beam]
            if plus(*following[prefix]) > -inf
        }
    return {prefix: plus(*scores) + scorer.of(prefix) for prefix, scores in beams.items()}


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 12), beam=st.integers(1, 6), seed=st.integers(0, 999))
def test_a_narrow_beam_is_that_of_dictionaries(frames: int, beam: int, seed: int) -> None:
    log_probs_TV = random_log_probs(frames, NUM_TOKENS, seed)
    scorer = Bigram(seed)
    decoder = BeamDecoder(beam=beam, tokens_per_frame=None, scorers=[scorer])
    found = {one.token_ids: one.score for one in search_one(decoder, log_probs_TV)}
    assert found == pytest.approx(reference_search(log_probs_TV, beam, scorer), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    skip_blank=st.sampled_from([None, 0.4]),
    seed=st.integers(0, 99),
)
def test_a_batch_gives_what_each_row_gives_alone(
    lengths: list[int], skip_blank: float | None, seed: int
) -> None:
    rows = [
        random_log_probs(max(lengths) + 2, NUM_TOKENS, seed + row) for row in range(len(lengths))
    ]
    for row, length in zip(rows, lengths, strict=True):
        row[length:] = torch.nan
    decoder = BeamDecoder(beam=4, skip_blank=skip_blank, n_best=3, scorers=[Bigram(seed)])
    together = decoder.label(torch.stack(rows), torch.tensor(lengths))
    for row, length, found in zip(rows, lengths, together, strict=True):
        (alone,) = decoder.label(row[None, :length], torch.tensor([length]))
        assert found.ids_T.tolist() == alone.ids_T.tolist()
        (ours,), (theirs,) = found.alternatives, alone.alternatives
        assert [one.token_ids for one in ours.sequences] == [
            one.token_ids for one in theirs.sequences
        ]
        assert [one.score for one in ours.sequences] == pytest.approx(
            [one.score for one in theirs.sequences], abs=1e-5
        )


@settings(max_examples=60, deadline=None)
@given(path=st.lists(st.integers(0, NUM_TOKENS - 1), min_size=1, max_size=20))
def test_one_prefix_of_sure_frames_is_the_best_path(path: list[int]) -> None:
    log_probs_TV = torch.full((len(path), NUM_TOKENS), log(0.1 / (NUM_TOKENS - 1)))
    log_probs_TV[torch.arange(len(path)), path] = log(0.9)
    lengths_B = torch.tensor([len(path)])
    (greedy,) = GreedyDecoder()(log_probs_TV[None], lengths_B)
    (found,) = BeamDecoder(beam=1)(log_probs_TV[None], lengths_B)
    assert found.token_ids == greedy.token_ids
    assert found.token_frames == greedy.token_frames
    assert found.score == pytest.approx(greedy.score, abs=1e-4)


def test_a_sum_of_paths_beats_the_best_path() -> None:
    log_probs_TV = torch.tensor([[0.4, 0.35, 0.25], [0.4, 0.35, 0.25]]).log()
    lengths_B = torch.tensor([2])
    (greedy,) = GreedyDecoder()(log_probs_TV[None], lengths_B)
    (found,) = BeamDecoder(beam=4)(log_probs_TV[None], lengths_B)
    assert greedy.token_ids == ()
    assert found.token_ids == (1,)


def test_skipped_blanks_keep_the_score_and_say_how_many_they_are() -> None:
    sure = torch.tensor([0.998, 0.001, 0.001]).log()
    spoken = torch.tensor([0.1, 0.8, 0.1]).log()
    log_probs_TV = torch.stack([sure, sure, spoken, sure, sure, sure, spoken, sure])
    whole = search_one(BeamDecoder(beam=8), log_probs_TV)[0]
    decoder = BeamDecoder(beam=8, skip_blank=0.99)
    found = search_one(decoder, log_probs_TV)[0]
    assert found.token_ids == whole.token_ids == (1, 1)  # the blank between them is kept
    assert found.score == pytest.approx(whole.score, abs=0.05)
    assert decoder.skipped == 3 / 8
    assert "37.5 % of the frames skipped" in str(decoder)


def test_nothing_said_has_an_empty_sequence() -> None:
    log_probs_TV = torch.tensor([[0.0, -inf, -inf]] * 3)
    (found,) = BeamDecoder(beam=3)(log_probs_TV[None], torch.tensor([3]))
    assert found.token_ids == ()
    empty, spoken = BeamDecoder().label(log_probs_TV.expand(2, -1, -1), torch.tensor([0, 2]))
    assert (len(empty), spoken.ids_T.tolist()) == (0, [0, 0])
    assert not len(BeamDecoder().label(torch.zeros(1, 0, 3), torch.tensor([0]))[0])
