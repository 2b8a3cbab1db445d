"""Hard retrieval: what it takes, and the gradient that passes."""

from __future__ import annotations

import torch

from asr.head.hard_retrieval import retrieve_best, retrieve_drawn

SHAPE = B, H, R, T, K = 2, 3, 4, 5, 6


def scores() -> torch.Tensor:
    return torch.randn(B, H, R, T, generator=torch.Generator().manual_seed(0))


def values() -> torch.Tensor:
    return torch.randn(B, H, T, K, generator=torch.Generator().manual_seed(1))


def test_inference_takes_the_value_of_the_best_place() -> None:
    one_hot_BHRT = torch.nn.functional.one_hot(scores().argmax(-1), T).float()

    torch.testing.assert_close(retrieve_best(scores(), values()), one_hot_BHRT @ values())


def test_training_passes_the_gradient_of_the_mixture_to_probabilities() -> None:
    probs_BHRT = torch.nn.functional.one_hot(scores().argmax(-1), T).float().requires_grad_()
    values_BHTK = values().requires_grad_()
    weights = torch.randn(B, H, R, K, generator=torch.Generator().manual_seed(2))

    found = retrieve_drawn(probs_BHRT, values_BHTK)  # a certain place is the one that is drawn
    ours = torch.autograd.grad((found * weights).sum(), [probs_BHRT, values_BHTK])

    mixed = probs_BHRT @ values_BHTK
    theirs = torch.autograd.grad((mixed * weights).sum(), [probs_BHRT, values_BHTK])
    torch.testing.assert_close(found, mixed)
    torch.testing.assert_close(ours, theirs)


def test_places_are_drawn_by_their_probabilities() -> None:
    torch.manual_seed(3)
    probs_BHRT = torch.tensor([0.7, 0.3, 0.0]).expand(1, 1, 4000, 3)
    places_BHTK = torch.arange(3.0).view(1, 1, 3, 1)

    drawn = retrieve_drawn(probs_BHRT, places_BHTK).flatten()

    assert abs(float((drawn == 0).float().mean()) - 0.7) < 0.03
    assert not (drawn == 2).any()
