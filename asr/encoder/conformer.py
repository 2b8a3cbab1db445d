"""Conformer encoder (Gulati et al. 2020) with a reuse schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from asr.encoder.stack import MAX_MAP_MIB, Encoder
from asr.errors import InputError
from asr.nn.chunks import DynamicChunks
from asr.nn.convolution import ConvolutionModule, Normalisation
from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.ranges import ChunkFrames, ContextFrames, Layers, Range, Share, Width, in_ranges
from asr.reuse.base import AttentionCarry, LayerAttention, ReuseMethod


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
        causal_convolution: bool = False,
        convolution_norm: Normalisation = "batch",
    ) -> None:
        super().__init__()
        self.feedforward_in = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.attention_norm = nn.LayerNorm(d_model) if attention.reads_input else nn.Identity()
        self.attention = attention
        self.dropout = Dropout(dropout)
        self.convolution = ConvolutionModule(
            d_model=d_model,
            kernel_size=conv_kernel_size,
            dropout=dropout,
            causal=causal_convolution,
            normalisation=convolution_norm,
        )
        self.feedforward_out = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return (B, T, D) for (B, T, D), and the carry for the next layer."""
        x_BTD = self.before_attention(x_BTD)
        attended_BTD, carry = self.attention(self.attention_norm(x_BTD), frames, carry)
        if attended_BTD is not None:
            x_BTD = x_BTD + self.dropout(attended_BTD)
        x_BTD = x_BTD + self.convolution(x_BTD, frames)
        x_BTD = torch.add(x_BTD, self.feedforward_out(x_BTD), alpha=0.5)
        return self.norm(x_BTD), carry

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """Return the residual stream (B, T, D) that attention reads, before normalisation."""
        return torch.add(x_BTD, self.feedforward_in(x_BTD), alpha=0.5)


@in_ranges("encoder")
class Conformer(Encoder):
    """Conformer blocks after convolutional subsampling.

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
        conv_kernel_size: Annotated[int, Range(1, 999)],
        positions: PositionKind,
        subsampling: SubsamplingKind,
        subsampling_channels: Annotated[int, Range(1, 4096)],
        dropout: Share,
        max_map_mib: Annotated[float, Range(0, 1e6)] | None = MAX_MAP_MIB,
        causal_convolution: bool = False,
        convolution_norm: Normalisation = "batch",
        chunk_frames: list[ChunkFrames] | None = None,
        left_frames: ContextFrames = 64,
        right_frames: ContextFrames = 0,
        whole_share: Share = 0.5,
        pool_after: Sequence[Layers] = (),
    ) -> None:
        if conv_kernel_size % 2 == 0:
            raise InputError(f"encoder.conv_kernel_size={conv_kernel_size}: allowed: odd numbers")

        def make_layer(attention: LayerAttention) -> nn.Module:
            return ConformerLayer(
                attention,
                d_model=d_model,
                ffn_dim=ffn_dim,
                conv_kernel_size=conv_kernel_size,
                dropout=dropout,
                causal_convolution=causal_convolution,
                convolution_norm=convolution_norm,
            )

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
            final_norm=False,
            chunks=DynamicChunks.of(
                chunk_frames,
                left_frames=left_frames,
                right_frames=right_frames,
                whole_share=whole_share,
            ),
            pool_after=pool_after,
        )
