"""Transformer encoder (Vaswani et al. 2017, pre-norm) with a reuse schedule."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from asr.encoder.stack import MAX_MAP_MIB, Encoder
from asr.encoder.transformer_layer import TransformerLayer
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.ranges import Layers, Range, Share, Width, in_ranges
from asr.reuse.base import LayerAttention, ReuseMethod


@in_ranges("encoder")
class Transformer(Encoder):
    """Pre-norm Transformer layers over convolutional subsampling, LayerNorm at the end.

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
        )
