"""Conformer convolution module, channels last throughout.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from asr.nn.depthwise import depthwise_over_time
from asr.nn.dropout import Dropout
from asr.nn.masking import zero_padding
from asr.nn.valid_batch_norm import ValidBatchNorm


class ConvolutionModule(nn.Module):
    """Pointwise + GLU, depthwise, BatchNorm, Swish, pointwise (Gulati et al. 2020, figure 2).

    Padding is zeroed before the depthwise convolution, so an utterance in a batch and alone see
    the same neighbours. In inference the normalisation is folded into the depthwise kernel.
    """

    def __init__(self, *, d_model: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, "an even kernel has no centre frame"
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv1d(d_model, d_model, kernel_size, groups=d_model, bias=False)
        self.batch_norm = ValidBatchNorm(d_model)
        self.project = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, padding_mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D); the residual is the caller's."""
        hidden = functional.glu(self.expand(self.norm(x_BTD)), -1)
        hidden = zero_padding(hidden, padding_mask)
        if self.training:
            hidden = depthwise_over_time(hidden, self.depthwise.weight)
            hidden = self.batch_norm(hidden, padding_mask)
        else:
            scale_D, shift_D = self.batch_norm.as_affine()
            kernel = self.depthwise.weight * scale_D[:, None, None]
            hidden = depthwise_over_time(hidden, kernel, shift_D)
        hidden = functional.silu(hidden, inplace=not hidden.requires_grad)
        output: Tensor = self.dropout(self.project(hidden))
        return output
