"""Reordering the heads of a layer, and the order that best fits the leader's maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from asr.metrics.attention import best_assignment
from asr.reuse.base import ReuseMethod
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import Role

OUTPUT_WEIGHT, OUTPUT_BIAS = "mix.output.weight", "mix.output.bias"


def reorder_heads(attention: AloneAttention, order: Sequence[int]) -> None:
    """Move head ``order[i]`` to position i in all parameters; the output does not change."""
    num_heads = attention.scores.num_heads
    assert sorted(order) == list(range(num_heads))
    with torch.no_grad():
        for name, tensor in attention.state_dict().items():
            if name != OUTPUT_BIAS:
                dim = 1 if name == OUTPUT_WEIGHT else 0
                tensor.copy_(heads_of(tensor, order, num_heads, dim=dim))


def first_heads(scores: Mapping[str, Tensor], num_kept: int, num_heads: int) -> dict[str, Tensor]:
    """Return the parameters of an `AttentionScores` with only its first ``num_kept`` heads."""
    return {name: heads_of(tensor, range(num_kept), num_heads) for name, tensor in scores.items()}


def heads_of(tensor: Tensor, heads: Sequence[int], num_heads: int, *, dim: int = 0) -> Tensor:
    """Return a copy of the slices of ``heads`` along ``dim``, which is (H,) or (H * K,) long."""
    width = tensor.shape[dim] // num_heads
    index = torch.arange(tensor.shape[dim], device=tensor.device).view(num_heads, width)
    return tensor.index_select(dim, index[list(heads)].flatten())


def aligned_orders(
    reuse: ReuseMethod, similarity_LHLH: Tensor, num_heads: int
) -> dict[int, list[int]]:
    """Return the best order of the heads of every follower that reuses heads.

    ``similarity_LHLH`` compares all heads of the full model, as `total_variation_similarity` does.
    Fresh heads come first, as in `asr.reuse.heads`: those that the reused maps match worst. In a
    chain of followers, the reused maps are tracked from layer to layer.
    """
    orders: dict[int, list[int]] = {}
    handed_on: list[tuple[int, int]] = []  # layer and head that computed each map
    for role in reuse.schedule(len(similarity_LHLH)):
        num_reused = reuse.heads_reused(role, num_heads)
        if role.role is Role.LEAD:
            handed_on = [(role.layer, head) for head in range(num_heads)]
        elif role.role is Role.FOLLOW and num_reused:
            met = handed_on[:num_reused]
            layers, heads = zip(*met, strict=True)
            similarity_RH = similarity_LHLH[torch.tensor(layers), torch.tensor(heads), role.layer]
            stand_ins = best_assignment(similarity_RH)
            fresh = [head for head in range(num_heads) if head not in stand_ins]
            orders[role.layer] = [*fresh, *stand_ins]
            handed_on = [*((role.layer, head) for head in fresh), *met]
    return orders
