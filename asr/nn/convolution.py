"""The Conformer convolution module and its depthwise convolution over time, channels last."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from asr.errors import InputError
from asr.nn.dropout import Dropout
from asr.nn.frames import Frames, zero_padding
from asr.nn.valid_batch_norm import ValidBatchNorm

Normalisation = Literal["batch", "layer"]

BLOCK_FRAMES = 32


def depthwise_over_time(
    x_BTD: Tensor, kernel_D1C: Tensor, bias_D: Tensor | None = None, *, padding: int | None = None
) -> Tensor:
    """Return the depthwise convolution of (B, T, D) over T with ``padding`` zeros on both sides.

    If ``padding`` is None, it is half the kernel, and the output has as many frames as the input.

    Frames are channels last in memory. Viewed as a one-row image in that layout, they use the
    two-dimensional kernel, which vectorises over channels (several times the speed of conv1d). On a
    CPU that kernel is slow for the gradient of the weights, so `weight_gradient` replaces it.
    """
    padding = kernel_D1C.shape[-1] // 2 if padding is None else padding
    is_plain = x_BTD.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if is_plain and kernel_D1C.requires_grad and torch.is_grad_enabled() and bias_D is None:
        output_BTD: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
            x_BTD, kernel_D1C, padding
        )
        return output_BTD
    return _convolved(x_BTD, kernel_D1C, bias_D, padding)


def weight_gradient(x_BTD: Tensor, gradient_BTD: Tensor, kernel_size: int, padding: int) -> Tensor:
    """Return the gradient (D, 1, C) of the kernel, with one small matrix product per channel.

    A block of R output frames depends on R + C - 1 input frames. Their products, summed over all
    blocks, hold the gradient of tap c on the c-th diagonal. This method is our own.
    """
    _, num_frames, width = gradient_BTD.shape
    block = min(BLOCK_FRAMES, num_frames)
    filled = -num_frames % block
    seen = block + kernel_size - 1
    gradient_DBT = functional.pad(gradient_BTD.transpose(1, 2), (0, filled)).transpose(0, 1)
    x_DBT = functional.pad(x_BTD.transpose(1, 2), (padding, padding + filled)).transpose(0, 1)
    gradient_DNR = gradient_DBT.reshape(width, -1, block)
    x_DNS = x_DBT.unfold(2, seen, block).reshape(width, -1, seen)
    products_DRS = gradient_DNR.transpose(1, 2) @ x_DNS
    diagonals_DRC = products_DRS.as_strided(
        (width, block, kernel_size), (block * seen, seen + 1, 1)
    )
    return diagonals_DRC.sum(1).unsqueeze(1)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, kernel_D1C: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x_BTD, kernel_D1C)
        ctx.padding = padding
        return _convolved(x_BTD, kernel_D1C, None, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BTD, kernel_D1C = ctx.saved_tensors
        gradient_BTD, size = gradient_BTD.contiguous(), kernel_D1C.shape[-1]
        return (
            _convolved(gradient_BTD, kernel_D1C.flip(-1), None, size - 1 - ctx.padding),
            weight_gradient(x_BTD, gradient_BTD, size, ctx.padding),
            None,
        )


def _convolved(x_BTD: Tensor, kernel_D1C: Tensor, bias_D: Tensor | None, padding: int) -> Tensor:
    image_BD1T = x_BTD.transpose(1, 2).unsqueeze(2)
    image_BD1T = functional.conv2d(
        image_BD1T,
        kernel_D1C.unsqueeze(2),
        bias_D,
        padding=(0, padding),
        groups=kernel_D1C.shape[0],
    )
    return image_BD1T.squeeze(2).transpose(1, 2)


class ConvolutionModule(nn.Module):
    """Pointwise + GLU, depthwise, BatchNorm, Swish, pointwise (Gulati et al. 2020, figure 2).

    Padding is zeroed before the depthwise convolution, so an utterance sees the same neighbours in
    a batch as alone. In inference a BatchNorm is folded into the depthwise kernel. A frame sees
    half the kernel on both sides or, if ``causal``, the whole kernel before it. With blocks
    (`Frames.window`) everything after the block is zero (Li et al. 2023, dynamic chunk
    convolution).

    Raises:
        InputError: ``normalisation`` is unknown.
    """

    def __init__(
        self,
        *,
        d_model: int,
        kernel_size: int,
        dropout: float,
        causal: bool = False,
        normalisation: Normalisation = "batch",
    ) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, "an even kernel has no centre frame"
        if normalisation not in get_args(Normalisation):
            raise InputError(
                f"encoder.convolution_norm={normalisation!r}: "
                f"allowed: {', '.join(get_args(Normalisation))}"
            )
        self.num_right = 0 if causal else kernel_size // 2
        self.num_left = kernel_size - 1 - self.num_right
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv1d(d_model, d_model, kernel_size, groups=d_model, bias=False)
        self.normalisation = normalisation
        if normalisation == "batch":
            self.batch_norm = ValidBatchNorm(d_model)
        else:
            self.layer_norm = nn.LayerNorm(d_model)
        self.project = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)
        self._keeps = False
        self._kept: tuple[Tensor, Tensor] | None = None

    def keep_between_calls(self) -> None:
        """Keep the kernel with the BatchNorm folded in, in inference, until `train` is called."""
        self._keeps = True

    def train(self, mode: bool = True) -> Self:
        """See `torch.nn.Module.train`."""
        super().train(mode)
        if mode:
            self._keeps, self._kept = False, None
        return self

    def forward(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Return (B, T, D) for (B, T, D); the caller adds the residual."""
        hidden = functional.glu(self.expand(self.norm(x_BTD)), -1)
        hidden = zero_padding(hidden, frames.padding_mask)
        hidden, padding = self._surrounded(hidden, frames)
        kernel = self.depthwise.weight
        if self.normalisation == "layer":
            hidden = self.layer_norm(depthwise_over_time(hidden, kernel, padding=padding))
        elif self.training:
            hidden = depthwise_over_time(hidden, kernel, padding=padding)
            hidden = self.batch_norm(hidden, frames.padding_mask)
        else:
            hidden = depthwise_over_time(hidden, *self._folded(), padding=padding)
        hidden = functional.silu(hidden, inplace=not hidden.requires_grad)
        output: Tensor = self.dropout(self.project(hidden))
        return output

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Return kernel (D, 1, C) and bias (D,) of the depthwise convolution with its BatchNorm."""
        weight = self.depthwise.weight
        kept = None if torch.is_grad_enabled() else self._kept
        if kept is not None and (kept[0].dtype, kept[0].device) == (weight.dtype, weight.device):
            return kept
        scale_D, shift_D = self.batch_norm.as_affine()
        folded = weight * scale_D[:, None, None], shift_D
        if self._keeps and not torch.is_grad_enabled() and not torch.compiler.is_exporting():
            self._kept = folded
        return folded

    def _surrounded(self, x_BTD: Tensor, frames: Frames) -> tuple[Tensor, int]:
        """Return the frames with their context on both sides, and the zeros the kernel must add."""
        if frames.window is not None:
            seen_BSD = frames.window.extended(x_BTD, self.num_left)
            return functional.pad(seen_BSD, (0, 0, 0, self.num_right)), 0
        if self.num_left != self.num_right:
            return functional.pad(x_BTD, (0, 0, self.num_left, self.num_right)), 0
        return x_BTD, self.num_right
