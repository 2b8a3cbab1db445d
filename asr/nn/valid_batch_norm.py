"""Batch normalisation that sees no padding.

Shape legend: B batch, T frames, D channels, S = B * T valid frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class ValidBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the channels of (B, T, D), with statistics of valid frames only.

    Padding frames pass through a plain BatchNorm as zeros and pull its mean and variance towards
    zero by an amount that depends on the batch; here they take no part.
    """

    def forward(self, x_BTD: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Normalised frames (B, T, D); padding comes out as zero."""
        if padding_mask is None:
            return self._normalise(x_BTD.flatten(0, 1)).view_as(x_BTD)
        valid = ~padding_mask
        normalised_SD = self._normalise(x_BTD[valid])
        return x_BTD.new_zeros(x_BTD.shape).masked_scatter(valid.unsqueeze(-1), normalised_SD)

    def _normalise(self, frames_SD: Tensor) -> Tensor:
        """BatchNorm; a single frame has no variance and is normalised by the running statistics."""
        if self.training and len(frames_SD) == 1:
            scale_D, shift_D = self.as_affine()
            return frames_SD * scale_D + shift_D
        return super().forward(frames_SD)

    def as_affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (D,) that equal this module in inference."""
        assert self.running_mean is not None
        assert self.running_var is not None
        scale_D = self.weight * (self.running_var + self.eps).rsqrt()
        return scale_D, self.bias - self.running_mean * scale_D


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batches that normalisations in ``module`` meet meanwhile do not enter their statistics.

    The statistics are set aside, not written back: the backward pass may hold them.
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
