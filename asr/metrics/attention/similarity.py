"""How alike the attention maps of layers and heads are.

Shape legend: L layers, H heads, T frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def total_variation_similarity(probs_LHTT: Tensor) -> Tensor:
    """Similarity (L, H, L, H) of every head with every other one, 0 to 1.

    One minus the total variation distance of the rows, averaged over the rows: 1 for equal maps,
    0 for maps that never look at the same frame. The measure of Bhojanapalli et al. 2021; the
    formula, which was not at hand, is the standard form.
    """
    num_layers, num_heads = probs_LHTT.shape[:2]
    rows_TXT = probs_LHTT.flatten(0, 1).transpose(0, 1)
    distance_XX = torch.cdist(rows_TXT, rows_TXT, p=1.0).mean(0) / 2
    return (1 - distance_XX).view(num_layers, num_heads, num_layers, num_heads)


def jensen_shannon_similarity(probs_LHTT: Tensor) -> Tensor:
    """Similarity (L, L, H) of each head with the head of the same index in other layers, 0 to 1.

    One minus the Jensen-Shannon divergence of the rows in bits, averaged over the rows. Xiao et al.
    2019 choose by it which layers share their weights, head by head.
    """
    own_LH = row_entropy_bits(probs_LHTT)
    similarity_LLH = torch.ones(len(own_LH), *own_LH.shape, device=probs_LHTT.device)
    for layer, probs_HTT in enumerate(probs_LHTT):
        mixture_LH = row_entropy_bits((probs_HTT + probs_LHTT[layer + 1 :]) / 2)
        divergence_LH = mixture_LH - (own_LH[layer] + own_LH[layer + 1 :]) / 2
        similarity_LLH[layer, layer + 1 :] = 1 - divergence_LH
        similarity_LLH[layer + 1 :, layer] = 1 - divergence_LH
    return similarity_LLH.clamp(0.0, 1.0)


def row_entropy_bits(probs_LHTT: Tensor) -> Tensor:
    """Entropy (L, H) of the rows of each map, averaged over the rows."""
    entropy_LHT: Tensor = torch.special.entr(probs_LHTT).sum(-1)
    return entropy_LHT.mean(-1) / math.log(2)


def best_match(similarity_LHLH: Tensor) -> Tensor:
    """(L, L, H): how well each head of the first layer is matched by the best head of the second.

    The head-level measure of Bhojanapalli et al. 2021, from what `total_variation_similarity`
    gives, or its mean over utterances.
    """
    return similarity_LHLH.amax(-1).transpose(1, 2)


def same_head(similarity_LHLH: Tensor) -> Tensor:
    """(L, L, H): similarity of heads of the same index, which is what a reused map replaces."""
    return torch.diagonal(similarity_LHLH, dim1=1, dim2=3)
