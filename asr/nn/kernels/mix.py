"""A kernel that mixes values by an attention map in half precision.

Plain operations copy the values to separate the heads, and copy the context to rejoin them. This
kernel reads a head's values where the projection wrote them and writes its context where the output
projection reads it.

Shape legend: B batch, H heads, T frames, D model width, K head width, N rows and M columns of a
tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from asr.nn.kernels.operation import define

_NUM_ROWS = (64, 32, 16)
_ENOUGH_TILES = 128


class MixTiling(NamedTuple):
    """Launch settings of the kernel: rows and columns of a tile, and pipeline stages."""

    num_rows: int
    num_columns: int
    num_stages: int


def mix_tiling(padded_head: int, num_frames: int, num_maps: int) -> MixTiling:
    """Choose the most rows that still keep a large GPU busy; each tile of rows reads all values."""
    if padded_head > 256:
        return MixTiling(num_rows=16, num_columns=16, num_stages=1)
    num_rows = next(
        (n for n in _NUM_ROWS if num_maps * -(-num_frames // n) >= _ENOUGH_TILES), _NUM_ROWS[-1]
    )
    if padded_head > 128:
        return MixTiling(num_rows, num_columns=32, num_stages=2)
    return MixTiling(num_rows, num_columns=64, num_stages=3 if padded_head <= 64 else 2)


def mix_values(probs_BHTT: Tensor, v_BTD: Tensor) -> Tensor:
    """Return the context (B, T, D) in the dtype of the values; sums are in float32.

    The map is in half precision, and values are rounded to its dtype.
    """
    context_BTD: Tensor = torch.ops.asr.mix_values(probs_BHTT, v_BTD)
    return context_BTD


def _launch(probs_BHTT: Tensor, v_BTD: Tensor) -> Tensor:
    probs_BHTT = probs_BHTT if probs_BHTT.stride(-1) == 1 else probs_BHTT.contiguous()
    v_BTD = v_BTD.contiguous()
    batch, num_heads, num_frames, _ = probs_BHTT.shape
    head_dim = v_BTD.shape[-1] // num_heads
    padded_head = int(max(16, triton.next_power_of_2(head_dim)))
    cut = mix_tiling(padded_head, num_frames, batch * num_heads)
    context_BTD = torch.empty_like(v_BTD)
    mix_tile[triton.cdiv(num_frames, cut.num_rows), batch * num_heads](
        probs_BHTT,
        v_BTD,
        context_BTD,
        *probs_BHTT.stride()[:3],
        num_heads,
        num_frames,
        K=head_dim,
        PADDED_K=padded_head,
        N=cut.num_rows,
        M=cut.num_columns,
        num_warps=4,
        num_stages=cut.num_stages,
    )
    return context_BTD


def _shape(probs: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(value, memory_format=torch.contiguous_format)


define("mix_values(Tensor probs, Tensor value) -> Tensor", _launch, shape=_shape)


@register_flop_formula(torch.ops.asr.mix_values)
def _flops(probs: Sequence[int], value: Sequence[int], **_: object) -> int:
    return 2 * math.prod(probs) * value[-1] // probs[1]


@triton.jit(do_not_specialize=["num_heads", "num_frames"])  # type: ignore[untyped-decorator]
def mix_tile(
    probs: tl.tensor,
    value: tl.tensor,
    context: tl.tensor,
    probs_b: tl.tensor,
    probs_h: tl.tensor,
    probs_t: tl.tensor,
    num_heads: tl.tensor,
    num_frames: tl.tensor,
    K: tl.constexpr,
    PADDED_K: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
) -> None:
    """Compute a tile of rows of one head; ``probs_b`` is the stride of ``probs`` along B."""
    batch = (tl.program_id(1) // num_heads).to(tl.int64)
    head = (tl.program_id(1) % num_heads).to(tl.int64)
    row_N = (tl.program_id(0) * N + tl.arange(0, N)).to(tl.int64)
    at_M = tl.arange(0, M)
    at_K = tl.arange(0, PADDED_K)
    d_model = num_heads * K
    probs += batch * probs_b + head * probs_h
    value += batch * num_frames * d_model + head * K
    context += batch * num_frames * d_model + head * K
    row_exists = (row_N < num_frames)[:, None]
    context_NK = tl.zeros([N, PADDED_K], tl.float32)
    for first_column in range(0, num_frames, M):
        column_M = first_column + at_M
        exists_M = column_M < num_frames
        probs_NM = tl.load(
            probs + row_N[:, None] * probs_t + column_M[None, :],
            row_exists & exists_M[None, :],
            0.0,
        )
        value_MK = tl.load(
            value + column_M[:, None] * d_model + at_K[None, :],
            exists_M[:, None] & (at_K < K)[None, :],
            0.0,
        )
        context_NK = tl.dot(probs_NM, value_MK.to(probs_NM.dtype), context_NK)
    tl.store(
        context + row_N[:, None] * d_model + at_K[None, :],
        context_NK.to(context.dtype.element_ty),
        row_exists & (at_K < K)[None, :],
    )
