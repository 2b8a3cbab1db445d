"""The transducer losses against the sum over all paths, and torchaudio's against ours."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asr.head.lattice import rnnt_losses, tdt_losses

V, DURATIONS, SIGMA = 4, (0, 1, 3), 0.05
LENGTHS, TOKENS = torch.tensor([4, 2, 1, 3]), torch.tensor([2, 0, 2, 1])
IDS = torch.tensor([[1, 1], [0, 0], [3, 2], [2, 0]])
Losses = Callable[[Tensor], Tensor]


def rnnt(logits_BTSX: Tensor) -> Tensor:
    return rnnt_losses(logits_BTSX[..., :V], LENGTHS, IDS, TOKENS)


def tdt(logits_BTSX: Tensor) -> Tensor:
    return tdt_losses(logits_BTSX, LENGTHS, IDS, TOKENS, durations=DURATIONS, sigma=SIGMA)


def all_paths(logits_TSX: Tensor, num_frames: int, ids: list[int], *, is_tdt: bool) -> Tensor:
    """Negative log of the summed probability of every path, each followed to its end."""
    tokens_TSV = logits_TSX[..., :V].log_softmax(-1)
    lasting_TSD = logits_TSX[..., V:].log_softmax(-1)
    paths: list[Tensor] = []

    def follow(frame: int, written: int, score: Tensor) -> None:
        if frame >= num_frames:
            if frame == num_frames and written == len(ids):
                paths.append(score)
            return
        for token in (0, *ids[written : written + 1]):
            for index, duration in enumerate(DURATIONS if is_tdt else (0, 1)):
                step = tokens_TSV[frame, written, token]
                if is_tdt:
                    if not token and not duration:
                        continue
                    step = step - SIGMA + lasting_TSD[frame, written, index]
                elif duration != (token == 0):
                    continue
                # The last step is a blank: a token may not end an utterance.
                if token and frame + duration >= num_frames:
                    continue
                follow(frame + duration, written + (token > 0), score + step)

    follow(0, 0, logits_TSX.new_zeros(()))
    return -torch.stack(paths).logsumexp(0)


def made(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(4, 4, 3, V + len(DURATIONS), generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_()


@pytest.mark.parametrize("losses", [rnnt, tdt])
def test_losses_and_gradients_are_those_of_all_paths(losses: Losses) -> None:
    logits, again = made(), made()

    found = losses(logits)
    expected = torch.stack(
        [
            all_paths(one, length, ids[:number], is_tdt=losses is tdt)
            for one, length, ids, number in zip(
                again, LENGTHS.tolist(), IDS.tolist(), TOKENS.tolist(), strict=True
            )
        ]
    )
    torch.autograd.backward(found.sum())
    torch.autograd.backward(expected.sum())

    torch.testing.assert_close(found, expected)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, again.grad)


def test_the_gradient_of_tdt_is_its_slope() -> None:
    assert torch.autograd.gradcheck(tdt, made(), fast_mode=True)


def test_torchaudio_agrees_with_our_sum_over_paths() -> None:
    ours, theirs = made(), made(torch.float32)

    losses, fast = rnnt(ours), rnnt(theirs)
    torch.autograd.backward(losses.sum())
    torch.autograd.backward(fast.sum())

    torch.testing.assert_close(fast.double(), losses, rtol=1e-5, atol=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(theirs.grad.double(), ours.grad, rtol=1e-4, atol=1e-5)


def test_tdt_of_one_frame_a_step_is_certain_of_its_only_path() -> None:
    """One frame, no token: a blank that lasts one frame."""
    logits = torch.zeros(1, 1, 1, V + len(DURATIONS), dtype=torch.float64)

    (loss,) = tdt_losses(
        logits,
        torch.tensor([1]),
        torch.zeros(1, 0, dtype=torch.int64),
        torch.tensor([0]),
        durations=DURATIONS,
    ).tolist()

    assert loss == pytest.approx(math.log(V) + math.log(len(DURATIONS)))


def test_an_utterance_without_a_path_has_no_gradient() -> None:
    """Three tokens that last a frame or two do not fit into two frames; one does."""
    logits = torch.randn(2, 2, 4, V + 2, requires_grad=True)
    losses = tdt_losses(
        logits,
        torch.tensor([2, 2]),
        torch.tensor([[1, 2, 3], [1, 0, 0]]),
        torch.tensor([3, 1]),
        durations=(1, 2),
    )
    torch.autograd.backward(losses.sum())

    assert losses[0] > 1e29
    assert 0 < losses[1] < 20
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    assert torch.isfinite(logits.grad).all()
