"""Runs of consecutive frames, counted from the first: what grouped and pooled attention share.

The last span may reach beyond the last frame. What is no valid frame counts as zero.

Shape legend: B batch, H heads, T frames, N frames of a span, S spans (T / N rounded up), D width,
R rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from asr.metrics.attention_steps import scoring
from asr.nn.masking import zero_padding


def in_spans(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, S, N, D): the frames in spans of ``span`` frames, zero where none is valid."""
    batch, num_frames, width = x_BTD.shape
    x_BTD = fill_up(zero_padding(x_BTD, padding_mask), span)
    return x_BTD.reshape(batch, num_spans(num_frames, span), span, width)


def num_spans(num_frames: int, span: int) -> int:
    """Spans that cover so many frames."""
    return (num_frames + span - 1) // span


def fill_up(x_BTD: Tensor, span: int, value: float = 0.0) -> Tensor:
    """Frames (B, T, ...) with ``value`` behind the last one, up to a whole number of spans."""
    num_frames = x_BTD.shape[1]
    num_filled = num_spans(num_frames, span) * span
    later_axes = (0, 0) * (x_BTD.dim() - 2)
    if torch.compiler.is_exporting():  # a graph does not know how many frames are missing
        return functional.pad(x_BTD, (*later_axes, 0, span - 1), value=value)[:, :num_filled]
    if num_filled == num_frames:
        return x_BTD
    return functional.pad(x_BTD, (*later_axes, 0, num_filled - num_frames), value=value)


def num_valid(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, S): how many valid frames each span of ``x_BTD`` has."""
    valid_BT = x_BTD.new_ones(x_BTD.shape[:2])
    return in_spans(valid_BT.unsqueeze(-1), padding_mask, span).sum((2, 3))


@scoring
def empty_spans(padding_mask: Tensor | None, span: int) -> Tensor | None:
    """(B, S) bool, True = holds padding only: the padding mask at the rate of spans."""
    if padding_mask is None:
        return None
    batch, num_frames = padding_mask.shape
    hidden_BT = fill_up(padding_mask, span, value=True)
    return hidden_BT.reshape(batch, num_spans(num_frames, span), span).all(2)


def spread(probs_BHRS: Tensor, x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """(B, H, R, T): the share of each span, spread evenly over its valid frames."""
    num_frames = x_BTD.shape[1]
    share_BS = num_valid(x_BTD, padding_mask, span).clamp(min=1).reciprocal()
    probs_BHRT = (probs_BHRS * share_BS[:, None, None]).repeat_interleave(span, -1)
    probs_BHRT = probs_BHRT[..., :num_frames]
    if padding_mask is None:
        return probs_BHRT
    return probs_BHRT.masked_fill(padding_mask[:, None, None], 0.0)
