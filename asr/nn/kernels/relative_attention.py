"""Attention with relative positions as one operation that stores no scores.

Shape legend: B batch, H heads, T frames, K head width, V value width, P distances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from asr.nn.kernels.operation import define
from asr.nn.kernels.relative_tile import attend_tile


class Tiling(NamedTuple):
    """How the kernel is cut: rows and columns of a tile, warps that share one, loads ahead."""

    tile: int
    num_warps: int
    num_stages: int


def tiling(dtype: torch.dtype, head_dim: int, value_dim: int) -> Tiling | None:
    """The largest tiles whose sums stay in registers; None where there are none.

    Found by compiling for compute capabilities 8.0, 9.0 and 12.0.
    """
    if value_dim > 256 or head_dim > (64 if dtype == torch.float32 else 256):
        return None
    if dtype == torch.float32:
        return Tiling(tile=32, num_warps=4 if value_dim <= 64 else 8, num_stages=1)
    if head_dim <= 64 or max(head_dim, value_dim) <= 128:
        return Tiling(tile=64, num_warps=8, num_stages=2)
    return Tiling(tile=32, num_warps=4, num_stages=2)


def padded(width: int) -> int:
    """The power of two, 16 or more, that holds ``width``: what tiles are made of."""
    return int(max(16, triton.next_power_of_2(width)))


def relative_attention(
    content_BHTK: Tensor,
    position_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    r_HKP: Tensor,
    padding_mask: Tensor | None,
    reach: int | None,
) -> Tensor:
    """Context (B, T, H, V) of scaled queries, keys, values and projected distances of one dtype.

    The distance in the middle is zero. ``padding_mask`` (B, T) and ``reach`` are those of
    `asr.nn.positions.Positions.attend`. Rows that see nothing come out as zeros. Sums are in
    float32, and so are products of float32, or in TF32 where
    ``torch.set_float32_matmul_precision`` allows it.
    """
    context_BTHV: Tensor = torch.ops.asr.relative_attention(
        content_BHTK, position_BHTK, k_BHTK, v_BHTV, r_HKP, padding_mask, reach
    )
    return context_BTHV


def _launch(
    content_BHTK: Tensor,
    position_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    r_HKP: Tensor,
    padding_mask: Tensor | None,
    reach: int | None,
) -> Tensor:
    content_BHTK, position_BHTK, k_BHTK, v_BHTV = (
        x if x.stride(-1) == 1 else x.contiguous()
        for x in (content_BHTK, position_BHTK, k_BHTK, v_BHTV)
    )
    batch, num_heads, num_frames, head_dim = k_BHTK.shape
    value_dim = v_BHTV.shape[-1]
    cut = tiling(v_BHTV.dtype, head_dim, value_dim)
    assert cut is not None, "the caller asks whether there is a tiling"
    context_BTHV = v_BHTV.new_empty(batch, num_frames, num_heads, value_dim)
    is_padding = None if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
    attend_tile[triton.cdiv(num_frames, cut.tile), batch * num_heads](
        content_BHTK,
        position_BHTK,
        k_BHTK,
        v_BHTV,
        r_HKP,
        is_padding,
        context_BTHV,
        *content_BHTK.stride()[:3],
        *position_BHTK.stride()[:3],
        *k_BHTK.stride()[:3],
        *v_BHTV.stride()[:3],
        *r_HKP.stride(),
        num_heads,
        num_frames,
        r_HKP.shape[-1],
        reach,
        K=head_dim,
        V=value_dim,
        PADDED_K=padded(head_dim),
        PADDED_V=padded(value_dim),
        N=cut.tile,
        PRECISION="tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        num_warps=cut.num_warps,
        num_stages=cut.num_stages,
    )
    return context_BTHV


def _shape(content: Tensor, position: Tensor, key: Tensor, value: Tensor, *_: object) -> Tensor:
    return torch.empty_like(value.transpose(1, 2), memory_format=torch.contiguous_format)


define(
    "relative_attention(Tensor content, Tensor position, Tensor key, Tensor value, "
    "Tensor distances, Tensor? padding_mask, int? reach) -> Tensor",
    _launch,
    shape=_shape,
)


@register_flop_formula(torch.ops.asr.relative_attention)
def _flops(
    content: Sequence[int],
    position: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    distances: Sequence[int],
    padding_mask: Sequence[int] | None,
    reach: int | None,
    **_: object,
) -> int:
    num_frames, head_dim = key[-2:]
    num_seen = num_frames if reach is None else min(num_frames, 2 * reach + 1)
    return 2 * math.prod(key[:-1]) * num_seen * (2 * head_dim + value[-1])
