"""Sampled softmax: it comes close to the whole softmax, and its gradient too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from asr.lm.sampled_softmax import SampledSoftmax
from asr.lm.transformer import TransformerLm

WIDTH, V = 8, 30


def setup(num_samples: int) -> tuple[SampledSoftmax, nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    counts_V = torch.randint(0, 50, (V,))
    hidden_ND, wanted_N = torch.randn(6, WIDTH), torch.randint(0, V, (6,))
    return SampledSoftmax(counts_V, num_samples), nn.Linear(WIDTH, V), hidden_ND, wanted_N


def test_with_many_samples_it_is_the_whole_softmax_in_value_and_gradient() -> None:
    sampled, output, hidden_ND, wanted_N = setup(400_000)
    exact_N = nn.functional.cross_entropy(output(hidden_ND), wanted_N, reduction="none")
    torch.autograd.backward(exact_N.sum())
    assert output.weight.grad is not None
    exact_VD = output.weight.grad.clone()
    output.zero_grad()
    found_N = sampled(hidden_ND, wanted_N, output)
    found_N.sum().backward()
    torch.testing.assert_close(found_N, exact_N, atol=0.02, rtol=0.02)
    torch.testing.assert_close(output.weight.grad, exact_VD, atol=0.05, rtol=0.05)


def test_the_normaliser_is_right_in_the_mean() -> None:
    """The exponential of a loss times the probability of its token is the sum over all tokens."""
    sampled, output, hidden_ND, wanted_N = setup(3)
    with torch.no_grad():
        logits_NV = output(hidden_ND)
        own_N = logits_NV.gather(1, wanted_N.unsqueeze(1)).squeeze(1).exp()
        sums_N = torch.stack(
            [sampled(hidden_ND, wanted_N, output).exp() * own_N for _ in range(20_000)]
        ).mean(0)
    torch.testing.assert_close(sums_N, logits_NV.exp().sum(1), atol=0.5, rtol=0.05)


def test_tokens_are_drawn_as_often_as_they_occur() -> None:
    torch.manual_seed(0)
    counts_V = torch.tensor([0, 9, 89])
    drawn_K = SampledSoftmax(counts_V, 50_000).draw()
    shares_V = torch.bincount(drawn_K, minlength=3) / 50_000
    torch.testing.assert_close(shares_V, torch.tensor([1, 10, 90]) / 101, atol=0.01, rtol=0.0)


def test_losses_of_sentences_are_those_of_all_their_tokens_and_ends() -> None:
    torch.manual_seed(0)
    model = TransformerLm(
        vocab_size=V, num_layers=1, d_model=WIDTH, num_heads=2, ffn_dim=16, dropout=0.0
    )
    ids_NU, lengths_N = torch.randint(1, V, (3, 5)), torch.tensor([5, 0, 2])
    sampled = SampledSoftmax(torch.zeros(V), 400_000)
    found_M = model.sampled_losses(ids_NU, lengths_N, sampled)
    exact_NS = -model(ids_NU, lengths_N)
    assert len(found_M) == 6 + 1 + 3
    torch.testing.assert_close(found_M, exact_NS[exact_NS != 0], atol=0.02, rtol=0.02)


def test_nothing_but_the_drawn_and_the_wanted_takes_a_gradient() -> None:
    sampled, output, hidden_ND, wanted_N = setup(2)
    losses_N = sampled(hidden_ND, wanted_N, output)
    losses_N.sum().backward()
    assert output.bias.grad is not None
    assert 0 < int((output.bias.grad != 0).sum()) <= len(set(wanted_N.tolist())) + 2
    assert all(math.isfinite(loss) for loss in losses_N.tolist())


@pytest.mark.parametrize("wanted", [0, V - 1])
def test_a_token_is_not_told_apart_from_itself(wanted: int) -> None:
    counts_V = torch.zeros(V)
    counts_V[wanted] = 1e12
    _, output, hidden_ND, _ = setup(1)
    losses_N = SampledSoftmax(counts_V, 5)(hidden_ND, torch.full((6,), wanted), output)
    assert losses_N.abs().max() < 1e-6
