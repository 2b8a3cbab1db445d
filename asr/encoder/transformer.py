"""Transformer encoder (Vaswani et al. 2017, pre-norm) with a reuse schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from asr.encoder.stack import MAX_MAP_MIB, Encoder
from asr.nn.chunks import DynamicChunks
from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.ranges import ChunkFrames, ContextFrames, Layers, Range, Share, Width, in_ranges
from asr.reuse.base import AttentionCarry, LayerAttention, ReuseMethod


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
        """Return (B, T, D) for (B, T, D), and the carry for the next layer."""
        x_BTD = self.before_attention(x_BTD)
        attended_BTD, carry = self.attention(self.attention_norm(x_BTD), frames, carry)
        if attended_BTD is not None:
            x_BTD = x_BTD + self.dropout(attended_BTD)
        return x_BTD + self.feedforward(x_BTD), carry

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """Return the residual stream (B, T, D) that attention reads, before normalisation."""
        return x_BTD


@in_ranges("encoder")
class Transformer(Encoder):
    """Pre-norm Transformer layers after convolutional subsampling, with a final LayerNorm.

    Raises:
        InputError: dimensions that do not fit, or a schedule that does not fit the depth.
    """

    def __init__(
        self,
        *,
        reuse: ReuseMethod,
        num_mel_bins: int,
        num_layers: Layers,
        d_model: Width,
        num_heads: Annotated[int, Range(1, 512)],
        ffn_dim: Annotated[int, Range(1, 65_536)],
        positions: PositionKind,
        subsampling: SubsamplingKind,
        subsampling_channels: Annotated[int, Range(1, 4096)],
        dropout: Share,
        max_map_mib: Annotated[float, Range(0, 1e6)] | None = MAX_MAP_MIB,
        chunk_frames: list[ChunkFrames] | None = None,
        left_frames: ContextFrames = 64,
        right_frames: ContextFrames = 0,
        whole_share: Share = 0.5,
        pool_after: Sequence[Layers] = (),
    ) -> None:
        def make_layer(attention: LayerAttention) -> nn.Module:
            return TransformerLayer(attention, d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)

        super().__init__(
            reuse=reuse,
            make_layer=make_layer,
            num_mel_bins=num_mel_bins,
            num_layers=num_layers,
            d_model=d_model,
            num_heads=num_heads,
            positions=positions,
            subsampling=subsampling,
            subsampling_channels=subsampling_channels,
            dropout=dropout,
            max_map_mib=max_map_mib,
            final_norm=True,
            chunks=DynamicChunks.of(
                chunk_frames,
                left_frames=left_frames,
                right_frames=right_frames,
                whole_share=whole_share,
            ),
            pool_after=pool_after,
        )
