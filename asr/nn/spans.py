"""Runs of consecutive frames, counted from the first: what grouped and pooled attention share.

The last span may reach beyond the last frame. What is no valid frame counts as zero.

Shape legend: B batch, H heads, T frames, N frames of a span, S spans (T / N rounded up), D width,
R rows.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from asr.nn.masking import zero_padding


def in_spans(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, S, N, D): the frames in spans of ``span`` frames, zero where none is valid."""
    x_BTD = zero_padding(x_BTD, padding_mask)
    missing = -x_BTD.shape[1] % span
    if missing:
        x_BTD = functional.pad(x_BTD, (0, 0, 0, missing))
    batch, num_frames, width = x_BTD.shape
    return x_BTD.reshape(batch, num_frames // span, span, width)


def num_valid(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, S): how many valid frames each span of ``x_BTD`` has."""
    valid_BT = x_BTD.new_ones(x_BTD.shape[:2])
    return in_spans(valid_BT.unsqueeze(-1), padding_mask, span).sum((2, 3))


def empty_spans(padding_mask: Tensor | None, span: int) -> Tensor | None:
    """(B, S) bool, True = holds padding only: the padding mask at the rate of spans."""
    if padding_mask is None:
        return None
    missing = -padding_mask.shape[1] % span
    hidden_BT = functional.pad(padding_mask, (0, missing), value=True)
    return hidden_BT.view(len(hidden_BT), -1, span).all(2)


def spread(probs_BHRS: Tensor, x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, H, R, T): the share of each span, spread evenly over its valid frames."""
    num_frames = x_BTD.shape[1]
    share_BS = num_valid(x_BTD, padding_mask, span).clamp(min=1).reciprocal()
    probs_BHRT = (probs_BHRS * share_BS[:, None, None]).repeat_interleave(span, -1)
    probs_BHRT = probs_BHRT[..., :num_frames]
    if padding_mask is None:
        return probs_BHRT
    return probs_BHRT.masked_fill(padding_mask[:, None, None], 0.0)
