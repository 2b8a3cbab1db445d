"""One Conformer block (Gulati et al. 2020, figure 1 and section 2.4).

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.nn.convolution import ConvolutionModule
from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, LayerAttention


class ConformerLayer(nn.Module):
    """Half-step feed-forward, attention, convolution, half-step feed-forward, LayerNorm."""

    def __init__(
        self,
        attention: LayerAttention,
        *,
        d_model: int,
        ffn_dim: int,
        conv_kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feedforward_in = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.attention_norm = nn.LayerNorm(d_model) if attention.reads_input else nn.Identity()
        self.attention = attention
        self.dropout = Dropout(dropout)
        self.convolution = ConvolutionModule(
            d_model=d_model, kernel_size=conv_kernel_size, dropout=dropout
        )
        self.feedforward_out = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """(B, T, D) to (B, T, D), and the carry for the next layer."""
        x_BTD = self.before_attention(x_BTD)
        attended_BTD, carry = self.attention(self.attention_norm(x_BTD), frames, carry)
        if attended_BTD is not None:
            x_BTD = x_BTD + self.dropout(attended_BTD)
        x_BTD = x_BTD + self.convolution(x_BTD, frames.padding_mask)
        x_BTD = torch.add(x_BTD, self.feedforward_out(x_BTD), alpha=0.5)
        return self.norm(x_BTD), carry

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """The residual stream (B, T, D) where attention reads it, not yet normalised."""
        return torch.add(x_BTD, self.feedforward_in(x_BTD), alpha=0.5)
