"""Convolutional subsampling in time: features at 100 Hz to encoder frames at 25 or 12.5 Hz.

Every stage halves time and frequency, rounding up, and zeroes the frames behind each utterance's
end, so that a padded utterance sees the zeros it would see alone. Where no gradient is taken the
stages run on one stretch of time after the other, whose images stay in the cache; peak memory then
does not grow with the length.

Shape legend: B batch, T frames, F frequency bins, C channels, D model width.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from asr.nn.masking import padding_mask
from asr.nn.strided_conv import StridedConv
from asr.types import InputError

SubsamplingKind = Literal["conv4", "separable8"]

STRETCH_FRAMES = 1024
"""Feature frames gone through at a time in inference, about."""


class ConvSubsampling(nn.Module):
    """Strided 3x3 convolutions, then a projection of (frequency x channels) to the model width.

    ``conv4``: two plain convolutions, factor 4 (Gulati et al. 2020, section 2). ``separable8``:
    one plain and two depthwise-separable convolutions, factor 8 (Rekesh et al. 2023,
    FastConformer). Images are channels last in memory, so the projection reads them as they lie.
    """

    def __init__(
        self, *, kind: SubsamplingKind, num_mel_bins: int, channels: int, d_model: int
    ) -> None:
        super().__init__()
        if kind not in get_args(SubsamplingKind):
            raise InputError(
                f"encoder.subsampling={kind!r}: allowed: {', '.join(get_args(SubsamplingKind))}"
            )
        stages: list[nn.Module] = [strided(1, channels)]
        if kind == "conv4":
            stages += [strided(channels, channels)]
        else:
            stages += [separable(channels), separable(channels)]
        self.stages = nn.ModuleList(stages)
        self.factor = 2 ** len(stages)
        self.project = nn.Linear(channels * -(-num_mel_bins // self.factor), d_model)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) to (B, ceil(T / factor), D), and the new lengths."""
        num_frames = features_BTF.shape[1]
        mask = padding_mask(lengths_B, num_frames)
        lengths_B = -torch.div(-lengths_B, self.factor, rounding_mode="floor")
        if torch.compiler.is_exporting():  # a graph has no loop over an unknown number of frames
            return self._frames(features_BTF, mask, 0, num_frames), lengths_B
        num_stretches = 1 if torch.is_grad_enabled() else max(1, round(num_frames / STRETCH_FRAMES))
        stretch = math.ceil(num_frames / num_stretches / self.factor) * self.factor
        frames_BTD = [
            self._frames(features_BTF, mask, start, start + stretch)
            for start in range(0, num_frames, stretch)
        ]
        return torch.cat(frames_BTD, 1), lengths_B

    def _frames(self, features_BTF: Tensor, mask: Tensor | None, start: int, stop: int) -> Tensor:
        """Frames of the features from ``start`` to ``stop``; ``start`` divides by the factor.

        Kernels reach back from there, but never as far as one frame, so one frame more is made and
        dropped.
        """
        before = min(start, self.factor)
        reach = slice(start - before, stop)
        image_BCTF = features_BTF[:, reach].unsqueeze(1).to(memory_format=torch.channels_last)
        mask = None if mask is None else mask[:, reach]
        for stage in self.stages:
            if mask is not None:
                image_BCTF = image_BCTF.masked_fill(mask[:, None, :, None], 0.0)
                mask = mask[:, ::2]
            image_BCTF = stage(image_BCTF)
        image_BCTF = image_BCTF[:, :, before // self.factor :]
        frames_BTD: Tensor = self.project(image_BCTF.permute(0, 2, 3, 1).flatten(2))
        return frames_BTD


def strided(in_channels: int, out_channels: int) -> nn.Module:
    """3x3 convolution that halves time and frequency, ReLU."""
    return nn.Sequential(StridedConv(in_channels, out_channels), nn.ReLU(inplace=True))


def separable(channels: int) -> nn.Module:
    """Depthwise 3x3 that halves time and frequency, pointwise, ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
    pointwise = nn.Conv2d(channels, channels, 1)
    return nn.Sequential(depthwise, pointwise, nn.ReLU(inplace=True))
