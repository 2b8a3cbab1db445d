"""Batch normalisation that ignores padding.

Shape legend: B batch, T frames, D channels, S = B * T valid frames.

In training the statistics cover the batches of all processes, as in PyTorch's SyncBatchNorm, which
does not handle padding and needs a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn


class ValidBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the channels of (B, T, D), with statistics of all processes' valid frames.

    In a plain BatchNorm, zero padding frames pull mean and variance towards zero by an amount that
    depends on the batch; here they are left out.
    """

    def forward(self, x_BTD: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the normalised frames (B, T, D); padding is zero."""
        if padding_mask is None:
            return self._normalise(x_BTD.flatten(0, 1)).view_as(x_BTD)
        valid = ~padding_mask
        normalised_SD = self._normalise(x_BTD[valid])
        return x_BTD.new_zeros(x_BTD.shape).masked_scatter(valid.unsqueeze(-1), normalised_SD)

    def _normalise(self, frames_SD: Tensor) -> Tensor:
        """Apply BatchNorm; a single frame has no variance and uses the running statistics."""
        if self.training and _num_processes() > 1:
            return self._normalise_together(frames_SD)
        if self.training and len(frames_SD) == 1:
            scale_D, shift_D = self.as_affine()
            return frames_SD * scale_D + shift_D
        return super().forward(frames_SD)

    def _normalise_together(self, frames_SD: Tensor) -> Tensor:
        """Apply BatchNorm over the frames of all processes; each process must call it."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        normalised_SD: Tensor
        normalised_SD, mean_D, variance_D = _AcrossProcesses.apply(  # type: ignore[no-untyped-call]
            frames_SD, self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean_D, self.momentum)
            self.running_var.lerp_(variance_D, self.momentum)
        return normalised_SD

    def as_affine(self) -> tuple[Tensor, Tensor]:
        """Return the scale and shift (D,) that equal this module in inference."""
        assert self.running_mean is not None
        assert self.running_var is not None
        scale_D = self.weight * (self.running_var + self.eps).rsqrt()
        return scale_D, self.bias - self.running_mean * scale_D


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of the normalisations in ``module`` unchanged meanwhile.

    The buffers are replaced for that time, not restored in place: the backward pass may hold them.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, ValidBatchNorm)]
    aside = [dict(norm.named_buffers()) for norm in norms]
    for norm, buffers in zip(norms, aside, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, aside, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


class _AcrossProcesses(torch.autograd.Function):
    """Normalise frames (S, D) by mean and variance over all processes, in float32.

    Every process sends its number of frames, mean and sum of squared deviations, which are combined
    as in Chan et al. 1979. Mean and unbiased variance (D,) are returned without gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, frames_SD: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames32_SD = frames_SD.float()
        own_mean_D = frames32_SD.sum(0) / max(1, len(frames_SD))
        own_square_D = (frames32_SD - own_mean_D).square().sum(0)
        own = torch.stack([torch.full_like(own_mean_D, len(frames_SD)), own_mean_D, own_square_D])
        each = [torch.empty_like(own) for _ in range(_num_processes())]
        distributed.all_gather(each, own)
        num_PD, mean_PD, square_PD = torch.stack(each, 1)
        num_D = num_PD.sum(0)
        mean_D = (num_PD * mean_PD).sum(0) / num_D
        square_D = (square_PD + num_PD * (mean_PD - mean_D).square()).sum(0)
        scale_D = (square_D / num_D + eps).rsqrt()
        normal_SD = (frames32_SD - mean_D) * scale_D
        ctx.save_for_backward(normal_SD, weight_D, scale_D, num_D)
        variance_D = square_D / (num_D - 1).clamp_min(1)
        ctx.mark_non_differentiable(mean_D, variance_D)
        output_SD = (normal_SD * weight_D + bias_D).to(frames_SD.dtype)
        return output_SD, mean_D, variance_D

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normal_SD, weight_D, scale_D, num_D = ctx.saved_tensors
        grad_SD = grads[0].float()
        own = torch.stack([grad_SD.sum(0), (grad_SD * normal_SD).sum(0)])
        every = own.clone()
        distributed.all_reduce(every)
        mean_grad_D, mean_product_D = every / num_D
        centred_SD = grad_SD - mean_grad_D - normal_SD * mean_product_D
        grad_frames_SD = (centred_SD * weight_D * scale_D).to(grads[0].dtype)
        return grad_frames_SD, own[1], own[0], None


def _num_processes() -> int:
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1
