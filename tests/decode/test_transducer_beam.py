"""Beam search of RNN-T against sums over all alignments with at most one token a frame."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import exp
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr.decode.transducer import TransducerGreedy
from asr.decode.transducer_beam import TransducerBeam
from asr.errors import InputError
from asr.head.transducer import TransducerHead
from tests.decode.test_beam import Bigram

D, V = 6, 4
KINDS: list[dict[str, Any]] = [{}, {"predictor": "lstm", "predictor_layers": 2}]


def make(kind: dict[str, Any], *, seed: int = 0, blank_bias: float = 0.5) -> TransducerHead:
    torch.manual_seed(seed)
    head = TransducerHead(d_model=D, vocab_size=V, predictor_width=8, joint_dim=8, **kind)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.7)
    with torch.no_grad():
        head.joint.bias[0] = blank_bias
    return head.eval()


@torch.no_grad()
def sums_over_alignments(head: TransducerHead, outputs_TJ: Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every token sequence, alignment by alignment."""
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for moves in product(range(V), repeat=len(outputs_TJ)):
        ids: list[int] = []
        probability = 1.0
        for frame_J, move in zip(outputs_TJ, moves, strict=True):
            predicted_J = head.project_predictor(head.predictor(torch.tensor([ids]).long())[0, -1])
            probability *= float(head.logits(frame_J, predicted_J).double().softmax(-1)[move])
            ids += [move] if move else []
        sums[tuple(ids)] += probability
    return sums


@settings(max_examples=8, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    frames=st.integers(1, 4),
    seed=st.integers(0, 99),
    with_scorer=st.booleans(),
)
def test_a_beam_of_all_sequences_gives_the_exact_sums(
    kind: dict[str, Any], frames: int, seed: int, with_scorer: bool
) -> None:
    head = make(kind, seed=seed)
    with torch.no_grad():
        outputs_TJ = head(torch.randn(frames, D))
    scorer = Bigram(seed)
    search = TransducerBeam(
        head=head, beam=400, tokens_per_frame=None, scorers=[scorer] if with_scorer else []
    )
    (found,) = search.search(outputs_TJ[None], torch.tensor([frames]))
    sums = sums_over_alignments(head, outputs_TJ)
    assert {one.token_ids for one in found} == set(sums)
    assert len(found) == len(sums)
    for one in found:
        assert exp(one.acoustic) == pytest.approx(sums[one.token_ids], rel=1e-4)
        assert one.added == pytest.approx(scorer.of(one.token_ids) if with_scorer else 0.0)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_batch_equals_alone_and_a_beam_of_one_is_greedy(kind: dict[str, Any]) -> None:
    head = make(kind)
    outputs_BTJ = head(torch.randn(4, 30, D))
    lengths_B = torch.tensor([30, 11, 1, 0])
    for beam in (1, 5):
        search = TransducerBeam(head=head, beam=beam)
        whole = search.label(outputs_BTJ, lengths_B)
        greedy = TransducerGreedy(head=head, max_symbols=1).label(outputs_BTJ, lengths_B)
        for row, length in enumerate(lengths_B.tolist()):
            (alone,) = search.label(outputs_BTJ[row : row + 1, :length], lengths_B[row : row + 1])
            torch.testing.assert_close(whole[row].ids_U, alone.ids_U)
            torch.testing.assert_close(whole[row].frames_U, alone.frames_U)
            assert len(whole[row]) == length
            if beam == 1:
                assert torch.equal(whole[row].ids_U, greedy[row].ids_U)
                assert torch.equal(whole[row].frames_U, greedy[row].frames_U)
                torch.testing.assert_close(whole[row].scores_U, greedy[row].scores_U)
                torch.testing.assert_close(whole[row].scores_T, greedy[row].scores_T)


@torch.no_grad()
def test_labels_are_cut_and_joined_with_their_alternatives() -> None:
    head = make({}, blank_bias=0.0)
    search = TransducerBeam(head=head, beam=6, n_best=3)
    (labels,) = search.label(head(torch.randn(1, 20, D)), torch.tensor([20]))
    (listed,) = labels.alternatives
    assert (listed.first, listed.end, len(listed.sequences)) == (0, 20, 3)
    assert listed.sequences[0].token_ids == tuple(labels.ids_U.tolist())
    joined = labels[:8].joined([labels[8:]])
    assert torch.equal(joined.ids_U, labels.ids_U)
    assert torch.equal(joined.frames_U, labels.frames_U)
    assert [(one.first, one.end) for one in joined.alternatives] == [(0, 20), (0, 20)]


@torch.no_grad()
def test_a_scorer_can_turn_the_result_and_is_warned_about() -> None:
    head = make({}, blank_bias=0.0)
    head.joint.weight.mul_(10)
    outputs_BTJ, lengths_B = head(torch.randn(2, 20, D)), torch.tensor([20, 20])
    plain = TransducerBeam(head=head)
    plain.label(outputs_BTJ, lengths_B)
    assert plain.notice == ""
    loud = Bigram(0)
    loud.table[:, 1] = 50.0
    search = TransducerBeam(head=head, scorers=[loud])
    for labels in search.label(outputs_BTJ, lengths_B):
        assert set(labels.ids_U.tolist()) == {1}
    assert "outweigh the audio: in 2 of 2 chunks" in search.notice


def test_durations_are_refused_by_name() -> None:
    head = make({"durations": [0, 1, 2]})
    with pytest.raises(InputError, match=r"head\.durations=\[0, 1, 2\] \(TDT\); allowed: decode="):
        TransducerBeam(head=head)
