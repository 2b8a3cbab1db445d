"""Searches that go on from block to block find what they find in all frames at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.online import OnlineSearch, online_search
from asr.decode.search import Search
from asr.decode.transducer import TransducerGreedy
from asr.decode.transducer_beam import TransducerBeam
from tests.decode.test_beam import NUM_TOKENS, Bigram, random_log_probs
from tests.decode.test_transducer import KINDS, D, V, make

Make = Callable[[int], tuple[Search, Tensor]]
"""By a seed, a search and the frames of a stream."""


def of_ctc(make_search: Callable[[], Search], seed: int, *, blank: float = 0.0) -> Any:
    log_probs_TV = random_log_probs(40, NUM_TOKENS, seed)
    log_probs_TV[:, 0] += blank
    return make_search(), log_probs_TV.log_softmax(-1)


@torch.no_grad()
def of_transducer(kind: dict[str, Any], seed: int, *, scored: bool | None = None) -> Any:
    head = make(kind, blank_bias=0.0)
    outputs_TJ = head(torch.randn(40, D, generator=torch.Generator().manual_seed(seed)))
    if scored is None:
        return TransducerGreedy(head=head, max_symbols=3), outputs_TJ
    scorers = [WideBigram(seed)] if scored else []
    return TransducerBeam(head=head, beam=4, n_best=2, scorers=scorers), outputs_TJ


class WideBigram(Bigram):
    """The same for more tokens."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(V, V, generator=generator).double()
        self.ends = torch.randn(V, generator=generator).double()


MAKES: list[Make] = [
    partial(of_ctc, GreedyDecoder),
    partial(of_ctc, lambda: BeamDecoder(beam=5, n_best=3)),
    partial(of_ctc, lambda: BeamDecoder(beam=5, scorers=[Bigram(3)])),
    partial(of_ctc, lambda: BeamDecoder(beam=5, skip_blank=0.6, scorers=[Bigram(3)]), blank=3.0),
    *(partial(of_transducer, kind) for kind in KINDS),
    partial(of_transducer, KINDS[0], scored=False),
    partial(of_transducer, KINDS[1], scored=True),
]


def advanced(search: Search, blocks: list[Tensor]) -> OnlineSearch:
    online = online_search(search, NUM_TOKENS)
    for outputs_TX in blocks:
        online.advance(outputs_TX)
    return online


@settings(max_examples=25, deadline=None)
@given(
    make_search=st.sampled_from(MAKES),
    seed=st.integers(0, 99),
    cuts=st.sets(st.integers(1, 39), max_size=6),
    num_frames=st.integers(1, 40),
)
def test_any_cut_finds_what_the_whole_search_does(
    make_search: Make, seed: int, cuts: set[int], num_frames: int
) -> None:
    search, outputs_TX = make_search(seed)
    online = advanced(search, list(torch.tensor_split(outputs_TX, sorted(cuts))))
    for length in (40, num_frames):
        (whole,) = search.label(outputs_TX[None, :length], torch.tensor([length]))
        part = online.labels(length)
        assert search.collapse(part) == search.collapse(whole)
        assert getattr(part, "alternatives", ()) == getattr(whole, "alternatives", ())
    assert type(online).__name__ != "_Repeated"


@pytest.mark.parametrize("make_search", MAKES)
def test_the_text_so_far_is_the_best_of_the_beam(make_search: Make) -> None:
    """Without ends to count, it is that of the labels."""
    search, outputs_TX = make_search(7)
    for scorer in getattr(search, "scorers", ()):
        scorer.ends.zero_()
    online = advanced(search, list(torch.split(outputs_TX, 9)))
    best, found = online.best(), search.collapse(online.labels(40))
    assert best.token_ids == found.token_ids
    assert best.token_ids
    apart = [
        abs(one - other) for one, other in zip(best.token_frames, found.token_frames, strict=True)
    ]
    assert sum(apart) <= len(apart) / 2, "said where the labels have it"
    assert [*best.token_frames] == sorted(best.token_frames)
    assert len(best.token_scores) == len(best.token_ids)
    assert all(score <= 0 for score in best.token_scores)


def test_a_scorer_turns_the_text_so_far() -> None:
    loud = Bigram(0)
    loud.table[:, 1] = 50.0
    search = BeamDecoder(beam=5, scorers=[loud])
    online = advanced(search, list(torch.split(random_log_probs(30, NUM_TOKENS, 4), 7)))
    assert online.best().token_ids.count(1) == 15
    assert online.path().token_ids.count(1) == 8, "segments end by what is heard"


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_block_costs_what_its_frames_do(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a long stream the predictor and the joint network run as often as in one search."""
    head = make(kind, blank_bias=0.0)
    outputs_TJ = head(torch.randn(400, D, generator=torch.Generator().manual_seed(1)))
    calls: list[int] = []
    logits = head.logits

    def counted(frames_XJ: Tensor, predicted_XJ: Tensor) -> Tensor:
        calls.append(frames_XJ.shape[:-1].numel())
        return logits(frames_XJ, predicted_XJ)

    monkeypatch.setattr(head, "logits", counted)
    search = TransducerGreedy(head=head)
    search.label(outputs_TJ[None], torch.tensor([400]))
    whole, blocks = sum(calls), []
    online = search.online()
    for outputs in torch.split(outputs_TJ, 8):
        calls.clear()
        online.advance(outputs)
        online.best()
        blocks.append(sum(calls))
    assert sum(blocks) == whole
    assert max(blocks) <= 8 * 10 + 8, "at most ten tokens at each frame"
    assert sum(blocks[-10:]) < 2 * sum(blocks[:10])


class Loud(GreedyDecoder):
    """A search of someone else: the tokens of all frames, and one more at the end."""

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        found = super().label(log_probs_BTV, lengths_B)
        for one in found:
            one.ids_T[-1] = 1
        return found


def test_a_search_that_does_not_go_on_reads_the_segment_again() -> None:
    """One that only inherits how, too."""
    log_probs_TV = random_log_probs(30, NUM_TOKENS, 4)
    log_probs_TV[9::10, 1] = -100.0
    online = advanced(Loud(), list(torch.split(log_probs_TV, 10)))
    (whole,) = Loud().label(log_probs_TV[None], torch.tensor([30]))
    labels = online.labels(30)
    assert isinstance(labels, FrameLabels)
    assert torch.equal(labels.ids_T, whole.ids_T)
    assert labels.ids_T[[9, 19, 29]].eq(1).tolist() == [False, False, True]
