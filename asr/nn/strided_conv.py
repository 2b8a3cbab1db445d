"""The strided 3x3 convolution of the subsampling, and its gradient on a CPU.

Shape legend: B batch, C input channels, E output channels, T frames, F frequency bins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SIZE, STRIDE = 3, 2

PATCH_ENTRIES = 2**21
"""Entries of the patches that are laid side by side at a time, about."""


class StridedConv(nn.Conv2d):
    """3x3 convolution that halves both axes of an image, rounding up.

    On a CPU the gradient of the weights is that of a matrix product of patches, which takes a third
    of the time of the library's kernel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, SIZE, stride=STRIDE, padding=1)

    def forward(self, image_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) to (B, E, T / 2, F / 2)."""
        is_plain = image_BCTF.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if is_plain and torch.is_grad_enabled() and self.weight.requires_grad:
            output_BETF: Tensor = _StridedConv.apply(  # type: ignore[no-untyped-call]
                image_BCTF, self.weight, self.bias
            )
            return output_BETF
        return super().forward(image_BCTF)


def weight_gradient(image_BCTF: Tensor, gradient_BETF: Tensor) -> Tensor:
    """Gradient (E, C, 3, 3) of the weights, for channels last images."""
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
            # Channels innermost, as they lie in memory.
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
        return image_gradient, weight_gradient(image, gradient), gradient.sum((0, 2, 3))
