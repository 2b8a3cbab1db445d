"""Convolutional subsampling in time: features at 100 Hz to encoder frames at 25 or 12.5 Hz."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from asr.errors import InputError
from asr.nn.frames import padding_mask

SIZE, STRIDE = 3, 2

PATCH_ENTRIES = 2**21
"""Approximate number of patch entries processed at a time."""


class StridedConv(nn.Conv2d):
    """A 3x3 convolution that halves both axes of an image, rounding up.

    On a CPU the gradient of the weights is computed as a matrix product of patches, in a third of
    the time of the library's kernel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, SIZE, stride=STRIDE, padding=1)

    def forward(self, image_BCTF: Tensor) -> Tensor:
        """Return (B, E, T / 2, F / 2) for (B, C, T, F)."""
        is_plain = image_BCTF.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if is_plain and torch.is_grad_enabled() and self.weight.requires_grad:
            output_BETF: Tensor = _StridedConv.apply(  # type: ignore[no-untyped-call]
                image_BCTF, self.weight, self.bias
            )
            return output_BETF
        return super().forward(image_BCTF)


def image_weight_gradient(image_BCTF: Tensor, gradient_BETF: Tensor) -> Tensor:
    """Return the gradient (E, C, 3, 3) of the weights, for channels-last images."""
    image_BTFC, gradient_BTFE = image_BCTF.permute(0, 2, 3, 1), gradient_BETF.permute(0, 2, 3, 1)
    num_frames, num_bins, width = gradient_BTFE.shape[1:]
    channels = image_BTFC.shape[3]
    num_patch = SIZE * SIZE * channels
    rows = max(1, PATCH_ENTRIES // (num_bins * num_patch))
    weight_EP = gradient_BETF.new_zeros(width, num_patch)
    for one_TFC, one_TFE in zip(image_BTFC, gradient_BTFE, strict=True):
        for start in range(0, num_frames, rows):
            stop = min(start + rows, num_frames)
            first = STRIDE * start - 1
            seen_TFC = one_TFC[max(0, first) : STRIDE * stop]
            missing = STRIDE * (stop - start) + 1 - len(seen_TFC) - (first < 0)
            seen_TFC = functional.pad(seen_TFC, (0, 0, 1, 1, int(first < 0), missing))
            patches = seen_TFC.unfold(0, SIZE, STRIDE).unfold(1, SIZE, STRIDE)[:, :num_bins]
            # Channels innermost, as in memory.
            patches_NP = patches.permute(0, 1, 3, 4, 2).reshape(-1, num_patch)
            weight_EP.addmm_(one_TFE[start:stop].reshape(-1, width).t(), patches_NP)
    return weight_EP.view(width, SIZE, SIZE, channels).permute(0, 3, 1, 2)


class _StridedConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(image, weight)
        return functional.conv2d(image, weight, bias, stride=STRIDE, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        image, weight = ctx.saved_tensors
        image_gradient = None
        if ctx.needs_input_grad[0]:
            image_gradient, _, _ = torch.ops.aten.convolution_backward(
                gradient,
                image,
                weight,
                None,
                [STRIDE, STRIDE],
                [1, 1],
                [1, 1],
                False,
                [0, 0],
                1,
                [True, False, False],
            )
        return image_gradient, image_weight_gradient(image, gradient), gradient.sum((0, 2, 3))


SubsamplingKind = Literal["conv4", "separable8"]

FACTORS: dict[str, int] = {"conv4": 4, "separable8": 8}

CHUNK_FRAMES = 1024
"""Approximate number of feature frames processed at a time in inference."""


class ConvSubsampling(nn.Module):
    """Strided 3x3 convolutions, then a projection of (frequency x channels) to the model width.

    ``conv4``: two plain convolutions, factor 4 (Gulati et al. 2020, section 2). ``separable8``: one
    plain and two depthwise-separable convolutions, factor 8 (Rekesh et al. 2023, FastConformer).
    Images are channels last in memory, so the projection needs no copy.
    """

    def __init__(
        self, *, kind: SubsamplingKind, num_mel_bins: int, channels: int, d_model: int
    ) -> None:
        super().__init__()
        self.factor = subsampling_factor(kind)
        stages: list[nn.Module] = [strided(1, channels)]
        if kind == "conv4":
            stages += [strided(channels, channels)]
        else:
            stages += [separable(channels), separable(channels)]
        self.stages = nn.ModuleList(stages)
        self.project: nn.Module = nn.Linear(channels * -(-num_mel_bins // self.factor), d_model)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, ceil(T / factor), D) for (B, T, F), and the new lengths."""
        num_frames = features_BTF.shape[1]
        mask = padding_mask(lengths_B, num_frames)
        lengths_B = -torch.div(-lengths_B, self.factor, rounding_mode="floor")
        if torch.compiler.is_exporting():  # a graph cannot loop over an unknown number of frames
            return self._frames(features_BTF, mask, 0, num_frames), lengths_B
        num_chunks = 1 if torch.is_grad_enabled() else max(1, round(num_frames / CHUNK_FRAMES))
        chunk = math.ceil(num_frames / num_chunks / self.factor) * self.factor
        frames_BTD = [
            self._frames(features_BTF, mask, start, start + chunk)
            for start in range(0, num_frames, chunk)
        ]
        return torch.cat(frames_BTD, 1), lengths_B

    def block(self, features_BTF: Tensor, mask_BT: Tensor) -> Tensor:
        """Return (B, W, D): the frames of a block, given `factor` feature frames before it.

        ``mask_BT`` is True for frames before the start and after the end.
        """
        return self._frames(features_BTF, mask_BT, self.factor, features_BTF.shape[1])

    def _frames(self, features_BTF: Tensor, mask: Tensor | None, start: int, stop: int) -> Tensor:
        """Return the frames of the features from ``start``, a multiple of the factor, to ``stop``.

        The kernels see less than one frame before ``start``, so one extra frame is computed and
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


def subsampling_factor(kind: SubsamplingKind) -> int:
    """By how much a kind divides the rate of frames, and the number of mel bins.

    Raises:
        InputError: there is no such kind.
    """
    if kind not in FACTORS:
        raise InputError(f"encoder.subsampling={kind!r}: allowed: {', '.join(FACTORS)}")
    return FACTORS[kind]


def strided(in_channels: int, out_channels: int) -> nn.Module:
    """Return a 3x3 convolution that halves time and frequency, then ReLU."""
    return nn.Sequential(StridedConv(in_channels, out_channels), nn.ReLU(inplace=True))


def separable(channels: int) -> nn.Module:
    """Return a depthwise 3x3 that halves time and frequency, a pointwise convolution, then ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
    pointwise = nn.Conv2d(channels, channels, 1)
    return nn.Sequential(depthwise, pointwise, nn.ReLU(inplace=True))
