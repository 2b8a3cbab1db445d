from __future__ import annotations

import os
from functools import partial

import pytest
import torch
from torch import distributed, nn

from asr.nn.frames import padding_mask
from asr.nn.valid_batch_norm import ValidBatchNorm, statistics_kept
from tests.encoder.tiny import randomise
from tests.train.two_processes import in_two_processes

LENGTHS = [5, 2, 4]


def pair() -> tuple[ValidBatchNorm, nn.BatchNorm1d]:
    ours, theirs = ValidBatchNorm(3), nn.BatchNorm1d(3)
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_equals_batch_norm_over_the_valid_frames(training: bool) -> None:
    ours, theirs = (module.train(training) for module in pair())
    x_BTD = torch.randn(3, 5, 3) * 2 + 1
    mask = padding_mask(torch.tensor(LENGTHS), 5)

    normalised_BTD = ours(x_BTD, mask)
    expected_SD = theirs(torch.cat([x_BTD[row, :n] for row, n in enumerate(LENGTHS)]))

    assert mask is not None
    torch.testing.assert_close(normalised_BTD[~mask], expected_SD)
    assert (normalised_BTD[mask] == 0).all()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)


def test_without_padding_equals_batch_norm() -> None:
    ours, theirs = pair()
    x_BTD = torch.randn(2, 4, 3)

    torch.testing.assert_close(ours(x_BTD), theirs(x_BTD.transpose(1, 2)).transpose(1, 2))


def test_what_lies_in_the_padding_changes_nothing() -> None:
    ours, _ = pair()
    mask = padding_mask(torch.tensor(LENGTHS), 5)
    assert mask is not None
    x_BTD = torch.randn(3, 5, 3)
    once_BTD = ours(x_BTD, mask)

    again_BTD = ours(x_BTD.masked_fill(mask.unsqueeze(-1), 1e6), mask)

    assert torch.equal(once_BTD, again_BTD)


def test_gradient_equals_that_of_batch_norm() -> None:
    ours, theirs = pair()
    x_BTD = torch.randn(3, 5, 3)
    mask = padding_mask(torch.tensor(LENGTHS), 5)
    assert mask is not None
    ours_in, theirs_in = x_BTD.clone().requires_grad_(), x_BTD.clone().requires_grad_()
    weight_BTD = torch.randn(3, 5, 3)

    (ours(ours_in, mask) * weight_BTD).sum().backward()
    (theirs(theirs_in[~mask]) * weight_BTD[~mask]).sum().backward()

    torch.testing.assert_close(ours_in.grad, theirs_in.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_as_affine_equals_inference() -> None:
    ours, _ = pair()
    x_BTD = torch.randn(2, 4, 3)

    scale_D, shift_D = ours.as_affine()

    torch.testing.assert_close(x_BTD * scale_D + shift_D, ours.eval()(x_BTD))


def test_a_single_valid_frame_trains() -> None:
    """A batch that boils down to a single valid frame must not end a training run."""
    ours, _ = pair()

    normalised_BTD = ours.train()(torch.randn(1, 1, 3))

    assert normalised_BTD.isfinite().all()


def test_a_batch_met_again_does_not_enter_the_statistics() -> None:
    norm = ValidBatchNorm(3).train()
    x_BTD = torch.randn(2, 4, 3)
    once = norm(x_BTD)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    places = {name: tensor.data_ptr() for name, tensor in norm.named_buffers()}

    with statistics_kept(nn.Sequential(norm)):
        again = norm(x_BTD)

    assert torch.equal(again, once)
    assert {name: tensor.data_ptr() for name, tensor in norm.named_buffers()} == places
    for name, tensor in norm.state_dict().items():
        assert torch.equal(tensor, before[name])


def as_one_process_with_all_frames() -> None:
    """Run in two processes: each has its own part of a batch, of unequal size."""
    rank = int(os.environ["LOCAL_RANK"])
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    together, alone = pair()
    x_BTD = torch.randn(5, 7, 3, dtype=torch.float64) * 2 + 100
    lengths_B, weight_BTD = torch.tensor([7, 3, 5, 1, 6]), torch.randn(5, 7, 3)
    mask = padding_mask(lengths_B, 7)
    assert mask is not None
    own = slice(0, 2) if rank == 0 else slice(2, 5)
    own_in = x_BTD[own].float().requires_grad_()
    whole_in = x_BTD.clone().requires_grad_()

    for _ in range(2):
        own_out = together(own_in, mask[own])
        torch.autograd.backward((own_out * weight_BTD[own]).sum())
        expected = torch.zeros_like(x_BTD)
        expected[~mask] = alone.double()(whole_in[~mask])
        torch.autograd.backward((expected * weight_BTD).sum())

    close = partial(torch.testing.assert_close, rtol=1e-5, atol=2e-5, check_dtype=False)
    close(own_out, expected[own])
    assert whole_in.grad is not None
    close(own_in.grad, whole_in.grad[own])
    for ours, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        distributed.all_reduce(ours.grad)
        close(ours.grad, theirs.grad)
    for name, tensor in alone.state_dict().items():
        close(together.state_dict()[name], tensor)
    distributed.destroy_process_group()


def test_processes_that_train_together_normalise_as_one() -> None:
    in_two_processes(as_one_process_with_all_frames)
