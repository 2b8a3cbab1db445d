"""Heads of followers in the order in which they meet the maps that they are handed.

Head i of one trained layer has nothing to do with head i of another. A follower that is handed its
leader's maps gets on best when each of its former heads, with its values and its part of the output
projection, meets the map it resembles most (that heads recur across layers: Bhojanapalli et al.
2021; that sharing fails where they are not brought into line: LiSA, 2408.01890). The assignment of
greatest total similarity is ours.

Shape legend: L layers, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.metrics.attention.assignment import best_assignment
from asr.reuse.base import ReuseMethod
from asr.reuse.schedule import Role


def aligned_orders(
    reuse: ReuseMethod, similarity_LHLH: Tensor, num_heads: int
) -> dict[int, list[int]]:
    """For every follower that reuses heads, the order in which its own are to stand.

    ``similarity_LHLH`` compares all heads of the full model, as `total_variation_similarity` does.
    Heads that stay fresh come first, as `asr.reuse.heads` has them: those which the maps handed on
    match worst. What a chain of followers hands on is followed from layer to layer.
    """
    orders: dict[int, list[int]] = {}
    handed_on: list[tuple[int, int]] = []  # layer and head each map was computed by
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
