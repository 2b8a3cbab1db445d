from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.ctc import BLANK_ID, CtcHead, frames_needed, inconsistency
from asr.types import EncoderOutput, LayerOutput

D, V = 6, 5


def make(**changed: Any) -> CtcHead:
    torch.manual_seed(0)
    return CtcHead(d_model=D, vocab_size=V, **changed)


def encoded(lengths: list[int], num_intermediate: int = 0, *, grad: bool = True) -> EncoderOutput:
    generator = torch.Generator().manual_seed(1)

    def frames() -> Tensor:
        made = torch.randn(len(lengths), max(lengths), D, generator=generator)
        return made.requires_grad_(grad)

    lengths_B = torch.tensor(lengths)
    last, *intermediate = (LayerOutput(frames(), lengths_B) for _ in range(1 + num_intermediate))
    return EncoderOutput(*last, tuple(intermediate))


def pad(tokens: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, tokens))
    ids = [[*row, *[0] * (width - len(row))] for row in tokens]
    return torch.tensor(ids, dtype=torch.int64).view(len(tokens), width), torch.tensor(
        [len(row) for row in tokens]
    )


def alone(head: CtcHead, frames_TD: Tensor, tokens: list[int]) -> Tensor:
    """Negative log likelihood of one utterance, by the sum over all its alignments."""
    log_probs_TV = head.project(frames_TD).log_softmax(-1)
    paths = []
    for path in itertools.product(range(V), repeat=len(frames_TD)):
        merged = [token for token, _ in itertools.groupby(path)]
        if [token for token in merged if token != BLANK_ID] == tokens:
            paths.append(
                torch.stack([log_probs_TV[t, token] for t, token in enumerate(path)]).sum()
            )
    return -torch.stack(paths).logsumexp(0)


@given(st.lists(st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=4))
def test_frames_needed_is_the_length_of_the_shortest_alignment(tokens: list[list[int]]) -> None:
    expected = []
    for row in tokens:
        path: list[int] = []
        for token in row:
            path += [BLANK_ID, token] if path and path[-1] == token else [token]
        expected.append(len(path))

    assert frames_needed(*pad(tokens)).tolist() == expected


def test_padding_tokens_need_no_frames() -> None:
    token_ids_BU = torch.tensor([[2, 2, 2, 2], [1, 0, 0, 0]])

    assert frames_needed(token_ids_BU, torch.tensor([2, 1])).tolist() == [3, 1]


def test_frames_needed_of_a_batch_without_tokens() -> None:
    token_ids_BU = torch.zeros(2, 0, dtype=torch.int64)

    assert frames_needed(token_ids_BU, torch.tensor([0, 0])).tolist() == [0, 0]


def test_loss_is_the_mean_over_utterances_of_the_sum_over_alignments() -> None:
    head, output, tokens = make(), encoded([5, 3, 4]), [[1, 1], [4, 2, 3], [2]]

    loss, num_left_out = head.loss(output, *pad(tokens))

    expected = torch.stack(
        [
            alone(head, output.frames_BTD[row, :length], tokens[row])
            for row, length in enumerate(output.lengths_B.tolist())
        ]
    ).mean()
    assert num_left_out == 0
    torch.testing.assert_close(loss, expected)


def test_an_empty_transcript_is_all_blanks() -> None:
    head, output = make(), encoded([3, 4])

    loss, num_left_out = head.loss(output, *pad([[], [1, 2]]))

    expected = [
        alone(head, output.frames_BTD[0, :3], []),
        alone(head, output.frames_BTD[1], [1, 2]),
    ]
    assert num_left_out == 0
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_a_batch_of_empty_transcripts() -> None:
    head, output = make(), encoded([3, 4])

    loss, num_left_out = head.loss(output, *pad([[], []]))

    expected = [alone(head, output.frames_BTD[0, :3], []), alone(head, output.frames_BTD[1], [])]
    assert num_left_out == 0
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_utterances_that_do_not_fit_are_left_out_and_counted() -> None:
    head, tokens = make(), [[1, 2], [3, 3, 3], [1, 1]]
    output = encoded([5, 4, 2])  # the second needs 5 frames, the third 3
    kept = encoded([5])
    kept = EncoderOutput(output.frames_BTD[:1].detach().requires_grad_(), kept.lengths_B)

    loss, num_left_out = head.loss(output, *pad(tokens))
    torch.autograd.backward(loss)
    expected, _ = make().loss(kept, *pad(tokens[:1]))
    torch.autograd.backward(expected)

    assert num_left_out == 2
    torch.testing.assert_close(loss, expected)
    assert output.frames_BTD.grad is not None
    assert kept.frames_BTD.grad is not None
    torch.testing.assert_close(output.frames_BTD.grad[:1], kept.frames_BTD.grad)
    assert (output.frames_BTD.grad[1:] == 0).all()


def test_an_utterance_that_just_fits_is_kept() -> None:
    head = make()

    loss, num_left_out = head.loss(encoded([5, 3]), *pad([[3, 3, 3], [1, 1]]))

    assert num_left_out == 0
    assert loss.isfinite()


def test_a_batch_in_which_nothing_fits_has_a_loss_of_zero() -> None:
    head, output = make(), encoded([1, 1], 1)

    loss, num_left_out = head.loss(output, *pad([[1, 2], [3, 3]]))
    torch.autograd.backward(loss)

    assert num_left_out == 2
    assert loss.shape == ()
    assert loss == 0
    assert output.frames_BTD.grad is not None
    assert (output.frames_BTD.grad == 0).all()
    assert all(p.grad is None or (p.grad == 0).all() for p in head.parameters())


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_intermediate_losses_enter_by_their_mean(weight: float) -> None:
    output, targets = encoded([6, 4], 2), pad([[1, 2], [3]])
    plain = make()
    last, first, second = (
        plain.loss(EncoderOutput(frames_BTD, output.lengths_B), *targets).loss
        for frames_BTD in (output.frames_BTD, *(one.frames_BTD for one in output.intermediate))
    )

    head = make(intermediate_layers=[0, 1], intermediate_weight=weight)
    loss, _ = head.loss(output, *targets)

    torch.testing.assert_close(loss, (1 - weight) * last + weight * (first + second) / 2)


def test_log_probabilities_are_normalised_float32() -> None:
    frames_BTD = encoded([4]).frames_BTD

    log_probs_BTV = make()(frames_BTD)

    assert log_probs_BTV.shape == (1, 4, V)
    assert log_probs_BTV.dtype == torch.float32
    torch.testing.assert_close(log_probs_BTV.exp().sum(-1), torch.ones(1, 4))


def test_loss_is_float32_under_autocast() -> None:
    head = make(intermediate_layers=[0], intermediate_weight=0.3)
    output, targets = encoded([6, 4], 1), pad([[1, 2], [3]])
    exact = head.loss(output, *targets).loss

    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = head.loss(output, *targets)
        log_probs_BTV = head(output.frames_BTD)
        nothing, _ = head.loss(encoded([1], 1), *pad([[1, 2]]))

    assert loss.dtype == log_probs_BTV.dtype == nothing.dtype == torch.float32
    torch.testing.assert_close(log_probs_BTV.exp().sum(-1), torch.ones(2, 6))
    torch.testing.assert_close(loss, exact, atol=0.05, rtol=0.01)
    torch.autograd.backward(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_frames_behind_a_length_do_not_matter() -> None:
    head, output, targets = make(), encoded([6, 4], grad=False), pad([[1, 2], [3]])
    other_BTD = output.frames_BTD.clone()
    other_BTD[1, 4:] = 1e3

    once, again = (
        head.loss(EncoderOutput(frames, output.lengths_B), *targets).loss
        for frames in (output.frames_BTD, other_BTD)
    )

    assert torch.equal(once, again)


def test_dropout_falls_on_the_frames_in_training_only() -> None:
    head, frames_BTD = make(dropout=0.5), encoded([6]).frames_BTD

    assert not torch.equal(head.train()(frames_BTD), head(frames_BTD))
    assert torch.equal(head.eval()(frames_BTD), head(frames_BTD))


def test_one_projection_serves_all_layers() -> None:
    head = make(intermediate_layers=[0, 1], intermediate_weight=0.3)

    assert [name for name, _ in head.named_parameters()] == ["project.weight", "project.bias"]
    assert isinstance(head.project, nn.Linear)


@pytest.mark.parametrize("weight", [-0.1, 1.0, 2.0, float("nan")])
def test_a_weight_out_of_range(weight: float) -> None:
    with pytest.raises(
        InputError, match=rf"head\.intermediate_weight={weight}: allowed: a number from 0 to"
    ):
        make(intermediate_layers=[1], intermediate_weight=weight)


@pytest.mark.parametrize("changed", [{"intermediate_layers": [1]}, {"intermediate_weight": 0.3}])
def test_layers_and_weight_come_together(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"head\.intermediate_layers=.*give both or neither"):
        make(**changed)


def test_consistency_is_half_of_both_divergences_over_valid_frames() -> None:
    head = make(consistency_weight=0.3)
    frames = encoded([4, 3, 4, 3])
    tokens = pad([[1], [2, 2]])
    log_probs_BTV = head(frames.frames_BTD)
    expected = []
    for row, length in ((0, 4), (1, 3)):
        one, other = log_probs_BTV[row, :length], log_probs_BTV[row + 2, :length]
        expected.append(
            ((one.exp() - other.exp()) * (one - other)).sum() / 2  # KL both ways
        )
    got = head.loss(frames, *tokens)
    plain = make().loss(frames, tokens[0].repeat(2, 1), tokens[1].repeat(2))
    torch.testing.assert_close(got.loss, plain.loss + 0.3 * torch.stack(expected).mean())
    assert got.num_left_out == 0
    # too short to be aligned: left out of both terms, counted once
    short = EncoderOutput(frames.frames_BTD, torch.tensor([4, 2, 4, 2]))
    left = head.loss(short, *tokens)
    assert left.num_left_out == 1
    (gradient_BTD,) = torch.autograd.grad(left.loss, frames.frames_BTD)
    assert gradient_BTD[[0, 2]].abs().sum() > 0
    assert gradient_BTD[[1, 3]].abs().sum() == 0


def test_a_divergence_moves_one_side_alone() -> None:
    log_probs_BTV = torch.randn(2, 3, V, generator=torch.Generator().manual_seed(0))
    logits = log_probs_BTV.requires_grad_()
    torch.autograd.backward([inconsistency(logits.log_softmax(-1), torch.tensor([3, 2])).sum()])
    assert logits.grad is not None
    one, other = logits.detach().softmax(-1)
    # the gradient of KL(sg(q) || softmax(z)) by z is softmax(z) - q
    torch.testing.assert_close(logits.grad[0], 0.5 * (one - other))
    torch.testing.assert_close(logits.grad[1], 0.5 * (other - one))
