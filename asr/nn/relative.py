"""Relative position encoding of Transformer-XL (Dai et al. 2019, section 3.3), in row tiles.

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . W r_{i-j}) / sqrt(K)

The position term of a tile of R rows is one product with the R + T - 1 distances these rows can
see. Row i needs it from column R - 1 - i on, so reading the product with a row stride one short of
its width *is* the relative shift: nothing is padded, copied or gathered. In inference whole rows
are attended tile by tile, and only R x T scores ever exist.

Shape legend: B batch, H heads, T frames, K head width, D model width, R rows of a tile,
P = 2T - 1 distances.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.nn.positions import Positions

TILE_ROWS = 128
WAVELENGTH_BASE = 10_000.0


class RelativePositions(Positions):
    """Content bias u, position bias v and the position projection W of one layer."""

    def __init__(self, *, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.position = nn.Linear(d_model, d_model, bias=False)
        self.content_bias_HK = nn.Parameter(torch.zeros(num_heads, d_model // num_heads))
        self.position_bias_HK = nn.Parameter(torch.zeros(num_heads, d_model // num_heads))

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """(P, D) sinusoids of the distances T-1, ..., 0, ..., -(T-1)."""
        channel = torch.arange(0, d_model, 2, device=like.device, dtype=torch.float32)
        distance = torch.arange(
            num_frames - 1, -num_frames, -1, device=like.device, dtype=torch.float32
        )
        angle = torch.outer(distance, WAVELENGTH_BASE ** (-channel / d_model))
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(like.dtype)

    def scores(self, q_BHTK: Tensor, k_BHTK: Tensor, table: Tensor | None) -> Tensor:
        """Scaled scores (B, H, T, T); in inference filled in place, tile by tile."""
        content_BHTK, position_BHTK, r_HKP = self._terms(q_BHTK, table)
        k_BHKT = k_BHTK.transpose(-1, -2)
        if torch.is_grad_enabled():
            shifted = shift_rows(position_BHTK @ r_HKP, q_BHTK.shape[2])
            return content_BHTK @ k_BHKT + shifted
        scores_BHTT = content_BHTK @ k_BHKT
        for start, stop, distances in tiles(q_BHTK.shape[2]):
            shifted = position_BHTK[:, :, start:stop] @ r_HKP[:, :, distances]
            scores_BHTT[:, :, start:stop] += shift_rows(shifted, q_BHTK.shape[2])
        return scores_BHTT

    def attend(
        self,
        q_BHTK: Tensor,
        k_BHTK: Tensor,
        v_BHTK: Tensor,
        table: Tensor | None,
        padding_mask: Tensor | None,
        dropout: float,
    ) -> Tensor:
        """Fused attention, one tile of rows at a time, with the position term as its bias."""
        content_BHTK, position_BHTK, r_HKP = self._terms(q_BHTK, table)
        num_frames = q_BHTK.shape[2]
        hidden = None if padding_mask is None else padding_mask[:, None, None, :]
        contexts_BRHK = []
        for start, stop, distances in tiles(num_frames):
            bias = shift_rows(position_BHTK[:, :, start:stop] @ r_HKP[:, :, distances], num_frames)
            if hidden is not None:
                bias = bias.masked_fill(hidden, float("-inf"))
            context_BHRK = functional.scaled_dot_product_attention(
                content_BHTK[:, :, start:stop],
                k_BHTK,
                v_BHTK,
                attn_mask=bias,
                dropout_p=dropout,
                scale=1.0,
            )
            contexts_BRHK.append(context_BHRK.transpose(1, 2))
        return torch.cat(contexts_BRHK, 1).transpose(1, 2)

    def _terms(self, q_BHTK: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled (q + u), scaled (q + v) and the projected distances (H, K, P)."""
        assert table is not None
        scale = q_BHTK.shape[-1] ** -0.5
        content_BHTK = (q_BHTK + self.content_bias_HK.unsqueeze(1)) * scale
        position_BHTK = (q_BHTK + self.position_bias_HK.unsqueeze(1)) * scale
        r_HKP = self.position(table).view(len(table), self.num_heads, -1).permute(1, 2, 0)
        return content_BHTK, position_BHTK, r_HKP


def tiles(num_frames: int) -> list[tuple[int, int, slice]]:
    """Row ranges (start, stop) that cover the frames, each with the distances it can see."""
    starts = range(0, num_frames, TILE_ROWS)
    stops = [min(start + TILE_ROWS, num_frames) for start in starts]
    return [
        (start, stop, slice(num_frames - stop, 2 * num_frames - 1 - start))
        for start, stop in zip(starts, stops, strict=True)
    ]


def shift_rows(product_BHRP: Tensor, num_frames: int) -> Tensor:
    """(B, H, R, T) view in which row i starts at column R - 1 - i of ``product``.

    ``product`` is (B, H, R, R + T - 1), its last axis the distances seen by these rows.
    """
    product_BHRP = product_BHRP.contiguous()
    rows, width = product_BHRP.shape[-2:]
    batch_stride, head_stride, _, _ = product_BHRP.stride()
    return product_BHRP.as_strided(
        (*product_BHRP.shape[:2], rows, num_frames),
        (batch_stride, head_stride, max(width - 1, 1), 1),
        product_BHRP.storage_offset() + rows - 1,
    )
