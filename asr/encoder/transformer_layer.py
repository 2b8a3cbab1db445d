"""One pre-norm Transformer layer (Vaswani et al. 2017; norm placement as Xiong et al. 2020).

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, LayerAttention


class TransformerLayer(nn.Module):
    """Attention and a full feed-forward module, each with its residual."""

    def __init__(
        self, attention: LayerAttention, *, d_model: int, ffn_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model) if attention.reads_input else nn.Identity()
        self.attention = attention
        self.dropout = Dropout(dropout)
        self.feedforward = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """(B, T, D) to (B, T, D), and the carry for the next layer."""
        attended_BTD, carry = self.attention(self.attention_norm(x_BTD), frames, carry)
        if attended_BTD is not None:
            x_BTD = x_BTD + self.dropout(attended_BTD)
        return x_BTD + self.feedforward(x_BTD), carry

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """The residual stream (B, T, D) where attention reads it, not yet normalised."""
        return x_BTD
