"""SpecAugment: time warping, and masks over frequency and time.

Park et al. 2019; time masks that grow with the utterance: Park et al. 2020.
Shape legend: B batch, T frames, F mel bins, M masks, X positions of either axis.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from asr.ranges import Range, Share, in_ranges

Masks = Annotated[int, Range(0, 1000)]
MaskWidth = Annotated[int, Range(0, 100_000)]


@in_ranges("features.specaugment")
class SpecAugment(nn.Module):
    """Random masks that set features to 0, their mean after normalisation; training only.

    Before masking, one frame of each utterance moves by up to ``max_time_warp`` frames to either
    side: the part on one side of it is stretched, the other squeezed. The first and last frame and
    the length stay the same. 0 turns warping off.

    Over the first ``ramp_steps`` optimiser steps the mask widths grow linearly from 0: CTC first
    learns where words stand, then to bear what is missing. The training loop sets ``num_steps``,
    the number of steps so far; None, as outside training, means full width.

    Each of ``num_freq_masks`` masks is 0 to ``max_freq_width`` bins wide, each of
    ``num_time_masks`` is 0 to ``max_time_width`` frames wide and at most ``max_time_fraction`` of
    its utterance. Masks lie within valid frames. Draws come from the generator of the features'
    device.
    """

    def __init__(
        self,
        *,
        num_freq_masks: Masks,
        max_freq_width: MaskWidth,
        num_time_masks: Masks,
        max_time_width: MaskWidth,
        max_time_fraction: Share,
        max_time_warp: MaskWidth = 0,
        ramp_steps: Annotated[int, Range(0, 10**9)] = 0,
    ) -> None:
        super().__init__()
        self.num_freq_masks = num_freq_masks
        self.max_freq_width = max_freq_width
        self.num_time_masks = num_time_masks
        self.max_time_width = max_time_width
        self.max_time_fraction = max_time_fraction
        self.max_time_warp = max_time_warp
        self.ramp_steps = ramp_steps
        self.num_steps: int | None = None

    def forward(self, features_BTF: Tensor, lengths_B: Tensor, num_copies: int = 1) -> Tensor:
        """Return the features (B, T, F), warped and masked in training mode, else unchanged.

        ``num_copies`` repeats the batch: all copies are warped alike, each has masks of its own.
        """
        if not self.training:
            return features_BTF.repeat(num_copies, 1, 1) if num_copies > 1 else features_BTF
        if self.max_time_warp:
            most = int(self._strength() * self.max_time_warp)
            features_BTF = _warped(features_BTF, lengths_B, most)
        if num_copies > 1:
            features_BTF = features_BTF.repeat(num_copies, 1, 1)
            lengths_B = lengths_B.repeat(num_copies)
        _, num_frames, num_bins = features_BTF.shape
        bins_B = torch.full_like(lengths_B, num_bins)
        strength = self._strength()
        freq_width_B = bins_B.clamp_max(int(strength * self.max_freq_width))
        time_width_B = (lengths_B * self.max_time_fraction).long()
        time_width_B = time_width_B.clamp_max(int(strength * self.max_time_width))
        freq_BF = _stripes(bins_B, freq_width_B, self.num_freq_masks, num_bins)
        time_BT = _stripes(lengths_B, time_width_B, self.num_time_masks, num_frames)
        valid_BT = torch.arange(num_frames, device=lengths_B.device) < lengths_B[:, None]
        masked_BTF = (freq_BF[:, None, :] & valid_BT[:, :, None]) | time_BT[:, :, None]
        return features_BTF.masked_fill(masked_BTF, 0.0)

    def _strength(self) -> float:
        """Return the share of the full widths, 0 to 1."""
        if self.num_steps is None or self.num_steps >= self.ramp_steps:
            return 1.0
        return self.num_steps / self.ramp_steps


def _warped(features_BTF: Tensor, lengths_B: Tensor, max_warp: int) -> Tensor:
    """Warp time linearly between the first frame, a frame that moves, and the last one."""
    last_B = lengths_B - 1
    reach_B = (last_B // 2).clamp_max(max_warp)
    from_B = reach_B + _randint(last_B - 2 * reach_B)
    to_B = from_B - reach_B + _randint(2 * reach_B)
    frames_T = torch.arange(features_BTF.shape[1], device=lengths_B.device)
    last_B1, from_B1, to_B1 = last_B[:, None], from_B[:, None], to_B[:, None]
    before_BT = frames_T * from_B1 / to_B1.clamp_min(1)
    behind_BT = last_B1 - (last_B1 - frames_T) * (last_B1 - from_B1) / (last_B1 - to_B1).clamp_min(
        1
    )
    source_BT = torch.where(frames_T < to_B1, before_BT, behind_BT)
    source_BT = torch.where(frames_T < last_B1, source_BT, frames_T.to(source_BT.dtype))
    left_BT = source_BT.long()
    right_BT = torch.minimum(left_BT + 1, torch.maximum(last_B1, frames_T))
    shape = (-1, -1, features_BTF.shape[2])
    left_BTF = features_BTF.gather(1, left_BT[:, :, None].expand(shape))
    right_BTF = features_BTF.gather(1, right_BT[:, :, None].expand(shape))
    share_BT = (source_BT - left_BT).to(features_BTF.dtype)
    return torch.lerp(left_BTF, right_BTF, share_BT[:, :, None])


def _stripes(lengths_B: Tensor, max_widths_B: Tensor, num_masks: int, size: int) -> Tensor:
    """Return (B, X), True inside ``num_masks`` masks of uniform width and position per row."""
    widths_BM = _randint(max_widths_B[:, None].expand(-1, num_masks))
    starts_BM = _randint(lengths_B[:, None] - widths_BM)
    ends_BM = starts_BM + widths_BM
    places_X = torch.arange(size, device=lengths_B.device)
    inside_BMX = (places_X >= starts_BM[:, :, None]) & (places_X < ends_BM[:, :, None])
    return inside_BMX.any(dim=1)


def _randint(highest: Tensor) -> Tensor:
    """Draw a uniform integer from 0 to ``highest``, both included, for each element."""
    draws = torch.rand(highest.shape, device=highest.device) * (highest + 1)
    return torch.minimum(draws.long(), highest)  # the product can round up to highest + 1
