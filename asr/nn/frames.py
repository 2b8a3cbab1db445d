"""The frames of a batch: lengths, padding mask, visible frames, and spans of frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from asr.nn.chunks import Window
from asr.profiling.attention_steps import scoring


def padding_mask(lengths_B: Tensor, num_frames: int) -> Tensor | None:
    """Return (B, T) bool, True = padding; None if no frame is padding.

    An exported graph or a CUDA graph must serve every batch, so it always gets a mask.
    """
    in_graph = torch.compiler.is_exporting() or is_recorded(lengths_B)
    if not in_graph and bool((lengths_B >= num_frames).all()):
        return None
    return torch.arange(num_frames, device=lengths_B.device) >= lengths_B.unsqueeze(1)


def is_recorded(x: Tensor) -> bool:
    """Return whether operations on ``x`` are being recorded for a CUDA graph."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def zero_padding(x_BTD: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return the frames with zeros where ``padding_mask`` (B, T) is True."""
    if padding_mask is None:
        return x_BTD
    return x_BTD.masked_fill(padding_mask.unsqueeze(-1), 0.0)


@dataclass(frozen=True, slots=True)
class Frames:
    """The masks and positions of a batch, made once per forward pass and passed to every layer.

    ``padding_mask`` is (B, T), True = padding, or None if nothing is padded. ``position_table`` is
    what the position encoding computes once for the visible frames, or None. With a ``window`` the
    batch consists of blocks, and a frame sees its own block and the frames before it
    (`asr.nn.chunks`); without one it sees all T.
    """

    padding_mask: Tensor | None = None
    position_table: Tensor | None = None
    window: Window | None = None

    @property
    def hidden(self) -> Tensor | None:
        """(B, S) bool over the visible frames, True = may not be attended to."""
        return self.padding_mask if self.window is None else self.window.hidden_ES

    def seen(self, x_BTD: Tensor) -> Tensor:
        """Return (B, S, D): the projected frames that each row attends to."""
        if self.window is None:
            return x_BTD
        return self.window.extended(x_BTD, self.window.context.left_frames)

    def num_seen(self, x_BTD: Tensor) -> int:
        """Return S, the number of visible frames."""
        return x_BTD.shape[1] if self.window is None else self.window.context.seen_frames

    @property
    def num_before(self) -> int:
        """The number of visible frames before the first one of a block."""
        return 0 if self.window is None else self.window.context.left_frames


ALL = Frames()
"""Every frame is valid and sees every other one."""


def in_spans(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """Return (B, S, N, D): the frames in spans of ``span``, with zeros for padding."""
    batch, num_frames, width = x_BTD.shape
    x_BTD = fill_up(zero_padding(x_BTD, padding_mask), span)
    return x_BTD.reshape(batch, num_spans(num_frames, span), span, width)


def num_spans(num_frames: int, span: int) -> int:
    """Return the number of spans that cover ``num_frames`` frames."""
    return (num_frames + span - 1) // span


def fill_up(x_BTD: Tensor, span: int, value: float = 0.0) -> Tensor:
    """Pad frames (B, T, ...) at the end with ``value`` to a whole number of spans."""
    num_frames = x_BTD.shape[1]
    num_filled = num_spans(num_frames, span) * span
    later_axes = (0, 0) * (x_BTD.dim() - 2)
    if torch.compiler.is_exporting():  # an exported graph does not know how many are missing
        return functional.pad(x_BTD, (*later_axes, 0, span - 1), value=value)[:, :num_filled]
    if num_filled == num_frames:
        return x_BTD
    return functional.pad(x_BTD, (*later_axes, 0, num_filled - num_frames), value=value)


def num_valid(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """Return (B, S): the number of valid frames in each span of ``x_BTD``."""
    valid_BT = x_BTD.new_ones(x_BTD.shape[:2])
    return in_spans(valid_BT.unsqueeze(-1), padding_mask, span).sum((2, 3))


def span_means(x_BTD: Tensor, padding_mask: Tensor | None, span: int) -> Tensor:
    """Return (B, S, D): the mean over the valid frames of each span, zero if there are none."""
    sum_BSD = in_spans(x_BTD, padding_mask, span).sum(2)
    num_BS = num_valid(x_BTD, padding_mask, span)
    return sum_BSD / num_BS.clamp(min=1).unsqueeze(-1)


@scoring
def empty_spans(padding_mask: Tensor | None, span: int) -> Tensor | None:
    """Return (B, S) bool, True = padding only: the padding mask of the spans."""
    if padding_mask is None:
        return None
    batch, num_frames = padding_mask.shape
    hidden_BT = fill_up(padding_mask, span, value=True)
    return hidden_BT.reshape(batch, num_spans(num_frames, span), span).all(2)


def spread_over_spans(
    probs_BHRS: Tensor, x_BTD: Tensor, padding_mask: Tensor | None, span: int
) -> Tensor:
    """Return (B, H, R, T): each span's probability, spread evenly over its valid frames."""
    num_frames = x_BTD.shape[1]
    share_BS = num_valid(x_BTD, padding_mask, span).clamp(min=1).reciprocal()
    probs_BHRT = (probs_BHRS * share_BS[:, None, None]).repeat_interleave(span, -1)
    probs_BHRT = probs_BHRT[..., :num_frames]
    if padding_mask is None:
        return probs_BHRT
    return probs_BHRT.masked_fill(padding_mask[:, None, None], 0.0)
