"""SepTr, the separable Transformer (Ristea et al. 2022), with a reuse schedule over time.

An utterance is a grid of tokens, bands by frames, with a class token before the bands of every
frame. A layer is two Transformer layers, one along each axis: first the tokens of a frame attend to
one another (band within a frame), then the tokens of a band (time within a band), class tokens
among themselves. An output frame is the final state of its class token. Here the grid comes from
convolutional subsampling instead of patches of the spectrogram.

The reuse schedule applies to the attention over time, for which every band is an utterance. The
attention over bands is small, G by G per frame, and each layer has its own.

Shape legend: B batch, T frames, F subsampled mel bins, C channels, G bands and the class token,
R = B * G rows, N = B * T frames of the batch, D width.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.encoder.stack import MAX_MAP_MIB, Encoder
from asr.encoder.transformer import TransformerLayer
from asr.errors import InputError
from asr.nn.chunks import Blocks
from asr.nn.feedforward import FeedForward
from asr.nn.frames import ALL, Frames
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind, subsampling_factor
from asr.ranges import Layers, Range, Share, Width, in_ranges
from asr.reuse.base import AttentionParts, LayerAttention, ReuseMethod
from asr.reuse.none import AloneAttention


class SepTrLayer(TransformerLayer):
    """A Transformer layer over the tokens of every frame, then one over those of every band.

    The second one is the base class, which reads what `before_attention` makes of the first.
    """

    def __init__(
        self,
        attention: LayerAttention,
        band_attention: LayerAttention,
        *,
        num_tokens: int,
        d_model: int,
        ffn_dim: int,
        dropout: float,
    ) -> None:
        super().__init__(attention, d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.num_tokens = num_tokens
        self.band_attention_norm = nn.LayerNorm(d_model)
        self.band_attention = band_attention
        self.band_feedforward = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)

    def before_attention(self, x_RTD: Tensor) -> Tensor:
        """Return the residual stream (R, T, D) that attention over time reads."""
        _, num_frames, width = x_RTD.shape
        x_BGTD = x_RTD.reshape(-1, self.num_tokens, num_frames, width)
        x_NGD = x_BGTD.transpose(1, 2).flatten(0, 1)
        attended_NGD, _ = self.band_attention(self.band_attention_norm(x_NGD), ALL, None)
        x_NGD = x_NGD + self.dropout(attended_NGD)
        x_NGD = x_NGD + self.band_feedforward(x_NGD)
        x_BTGD = x_NGD.view(-1, num_frames, self.num_tokens, width)
        rows_RTD: Tensor = x_BTGD.transpose(1, 2).flatten(0, 1)
        return rows_RTD


class BandTokens(nn.Module):
    """The tokens of every frame: a class token, and a projection of each run of ``band_bins`` bins.

    All bands share the projection; an embedding identifies the band of a token. Bins missing in the
    last band are zero.
    """

    def __init__(self, *, num_bins: int, channels: int, band_bins: int, d_model: int) -> None:
        super().__init__()
        num_bands = -(-num_bins // band_bins)
        self.num_tokens = 1 + num_bands
        self.num_missing = (num_bands * band_bins - num_bins) * channels
        self.project = nn.Linear(band_bins * channels, d_model)
        self.token_GD = nn.Parameter(torch.randn(self.num_tokens, d_model) * d_model**-0.5)

    def forward(self, image_BTX: Tensor) -> Tensor:
        """Return (B, T, G * D), token by token, for (B, T, F * C), bin by bin."""
        image_BTX = functional.pad(image_BTX, (0, self.num_missing))
        bands_BTGD = self.project(image_BTX.view(*image_BTX.shape[:2], self.num_tokens - 1, -1))
        return (functional.pad(bands_BTGD, (0, 0, 1, 0)) + self.token_GD).flatten(2)


class ClassNorm(nn.LayerNorm):
    """LayerNorm that returns only the class token of each frame."""

    def __init__(self, d_model: int, *, num_tokens: int) -> None:
        super().__init__(d_model)
        self.num_tokens = num_tokens

    def forward(self, x_RTD: Tensor) -> Tensor:
        """Return (B, T, D) for (R, T, D)."""
        return super().forward(x_RTD.reshape(-1, self.num_tokens, *x_RTD.shape[1:])[:, 0])


@in_ranges("encoder")
class SepTr(Encoder):
    """Separable Transformer layers after convolutional subsampling.

    A band has ``band_bins`` of the bins after subsampling (`num_mel_bins` divided by its factor).
    The encoder neither streams nor trains in chunks, so there is no ``chunk_frames``.

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
        band_bins: Annotated[int, Range(1, 512)],
        positions: PositionKind,
        subsampling: SubsamplingKind,
        subsampling_channels: Annotated[int, Range(1, 4096)],
        dropout: Share,
        max_map_mib: Annotated[float, Range(0, 1e6)] | None = MAX_MAP_MIB,
    ) -> None:
        tokens = BandTokens(
            num_bins=-(-num_mel_bins // subsampling_factor(subsampling)),
            channels=subsampling_channels,
            band_bins=band_bins,
            d_model=d_model,
        )
        over_bands = AttentionParts(
            d_model=d_model, num_heads=num_heads, positions="none", dropout=0.0
        )

        def make_layer(attention: LayerAttention) -> nn.Module:
            return SepTrLayer(
                attention,
                AloneAttention(over_bands.scores(), over_bands.mix(), fused=True),
                num_tokens=tokens.num_tokens,
                d_model=d_model,
                ffn_dim=ffn_dim,
                dropout=dropout,
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
        )
        self.num_rows = tokens.num_tokens
        self.subsampling.project = tokens
        self.norm = ClassNorm(d_model, num_tokens=self.num_rows)

    def embed(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input (R, T, D) of the first layer, an utterance's tokens in rows; lengths."""
        x_BTX, lengths_B = super().embed(features_BTF, lengths_B)
        x_BTGD = x_BTX.view(*x_BTX.shape[:2], self.num_rows, -1)
        return x_BTGD.transpose(1, 2).flatten(0, 1), lengths_B

    def frames(self, x_RTD: Tensor, lengths_B: Tensor, blocks: Blocks | None = None) -> Frames:
        """Return masks and positions for all rows."""
        return super().frames(x_RTD, lengths_B.repeat_interleave(self.num_rows), blocks)

    def check_chunks(self) -> None:
        """Raise InputError: this encoder does not support chunks."""
        raise InputError(
            "encoder=septr attends over whole utterances and neither streams nor trains in "
            "chunks; allowed: conformer, transformer"
        )
