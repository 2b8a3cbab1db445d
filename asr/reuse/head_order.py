"""The heads of a layer in another order, or only some of them.

The heads of one layer are alike in kind: in which order they stand changes nothing that the layer
computes, as long as queries, keys, positions, values and the output projection agree on it.

Shape legend: H heads, K head width, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from asr.reuse.none import AloneAttention

OUTPUT_WEIGHT, OUTPUT_BIAS = "mix.output.weight", "mix.output.bias"


def reorder_heads(attention: AloneAttention, order: Sequence[int]) -> None:
    """Put head ``order[i]`` in place i, in all parameters; the layer computes what it did."""
    num_heads = attention.scores.num_heads
    assert sorted(order) == list(range(num_heads))
    with torch.no_grad():
        for name, tensor in attention.state_dict().items():
            if name != OUTPUT_BIAS:
                dim = 1 if name == OUTPUT_WEIGHT else 0
                tensor.copy_(heads_of(tensor, order, num_heads, dim=dim))


def first_heads(scores: Mapping[str, Tensor], num_kept: int, num_heads: int) -> dict[str, Tensor]:
    """Parameters of an `AttentionScores` with its first ``num_kept`` heads only."""
    return {name: heads_of(tensor, range(num_kept), num_heads) for name, tensor in scores.items()}


def heads_of(tensor: Tensor, heads: Sequence[int], num_heads: int, *, dim: int = 0) -> Tensor:
    """What belongs to ``heads`` along ``dim``, which is (H,) or (H * K,) long; a copy."""
    width = tensor.shape[dim] // num_heads
    index = torch.arange(tensor.shape[dim], device=tensor.device).view(num_heads, width)
    return tensor.index_select(dim, index[list(heads)].flatten())
