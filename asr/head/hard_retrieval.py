"""Hard retrieval attention (Xu et al. 2021): every head attends to one position only.

In training the position is sampled from the head's probabilities, and the gradient is that of
ordinary soft attention. In inference it is the position with the best score, without a softmax.

Shape legend: B batch, H heads, R rows, T positions, K value width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def retrieve_best(scores_BHRT: Tensor, values_BHTK: Tensor) -> Tensor:
    """Return the value (B, H, R, K) at each row's best position."""
    return _gathered(values_BHTK, scores_BHRT.argmax(-1))


def retrieve_drawn(probs_BHRT: Tensor, values_BHTK: Tensor) -> Tensor:
    """Return the value (B, H, R, K) at a position sampled for each row."""
    places_XT = torch.multinomial(probs_BHRT.detach().flatten(0, 2).float(), 1)
    places_BHR = places_XT.view(probs_BHRT.shape[:-1])
    retrieved: Tensor = _Retrieve.apply(  # type: ignore[no-untyped-call]
        probs_BHRT, values_BHTK, places_BHR
    )
    return retrieved


class _Retrieve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs_BHRT: Tensor, values_BHTK: Tensor, places_BHR: Tensor) -> Tensor:
        ctx.save_for_backward(values_BHTK, places_BHR)
        ctx.kind = probs_BHRT.dtype
        return _gathered(values_BHTK, places_BHR)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BHRK: Tensor) -> tuple[Tensor, Tensor, None]:
        values_BHTK, places_BHR = ctx.saved_tensors
        by_probs = (gradient_BHRK @ values_BHTK.transpose(2, 3)).to(ctx.kind)
        by_values = torch.zeros_like(values_BHTK).scatter_add(
            2, _index(places_BHR, values_BHTK), gradient_BHRK.to(values_BHTK.dtype)
        )
        return by_probs, by_values, None


def _index(places_BHR: Tensor, values_BHTK: Tensor) -> Tensor:
    return places_BHR.unsqueeze(-1).expand(-1, -1, -1, values_BHTK.shape[-1])


def _gathered(values_BHTK: Tensor, places_BHR: Tensor) -> Tensor:
    return values_BHTK.gather(2, _index(places_BHR, values_BHTK))
