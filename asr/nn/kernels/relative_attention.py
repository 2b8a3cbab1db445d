"""A kernel for attention with relative positions that stores no scores."""

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

_LOG2_E = tl.constexpr(math.log2(math.e))


@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["num_heads", "num_frames", "num_distances", "reach"]
)  # one compilation serves all lengths
def attend_tile(
    query: tl.tensor,
    content_bias: tl.tensor,
    position_bias: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    distance: tl.tensor,
    is_padding: tl.tensor,
    context: tl.tensor,
    query_b: tl.tensor,
    query_h: tl.tensor,
    query_t: tl.tensor,
    key_b: tl.tensor,
    key_h: tl.tensor,
    key_t: tl.tensor,
    value_b: tl.tensor,
    value_h: tl.tensor,
    value_t: tl.tensor,
    distance_h: tl.tensor,
    distance_k: tl.tensor,
    distance_p: tl.tensor,
    num_heads: tl.tensor,
    num_frames: tl.tensor,
    num_distances: tl.tensor,
    reach: tl.tensor,
    scale: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    PADDED_K: tl.constexpr,
    PADDED_V: tl.constexpr,
    N: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Compute a tile of rows of one head; ``name_b`` is the stride of ``name`` along B."""
    first_row = tl.program_id(0) * N
    batch = (tl.program_id(1) // num_heads).to(tl.int64)
    head = (tl.program_id(1) % num_heads).to(tl.int64)
    at_N = tl.arange(0, N)
    at_K = tl.arange(0, PADDED_K)
    at_V = tl.arange(0, PADDED_V)
    row_N = first_row + at_N
    rows_exist = (row_N < num_frames)[:, None] & (at_K < K)[None, :]
    query += batch * query_b + head * query_h
    key += batch * key_b + head * key_h
    value += batch * value_b + head * value_h
    distance += head * distance_h
    query_NK = tl.load(query + row_N[:, None] * query_t + at_K[None, :], rows_exist, 0.0)
    content_NK = _biased(query_NK, content_bias + head * K, scale, at_K, K)
    position_NK = _biased(query_NK, position_bias + head * K, scale, at_K, K)

    first, stop = 0, num_frames
    if reach is not None:
        first = tl.maximum(0, first_row - reach) // N * N
        stop = tl.minimum(num_frames, first_row + N + reach)
    turn_NN = (at_N[None, :] - at_N[:, None]) & (N - 1)
    is_right = at_N[None, :] >= at_N[:, None]
    left_NN = _turned_product(
        position_NK, distance, num_distances // 2 + first - N - first_row, turn_NN,
        distance_k, distance_p, num_distances, K, PADDED_K, N, PRECISION,
    )  # fmt: skip
    highest_N = tl.full([N], float("-inf"), tl.float32)
    sum_N = tl.zeros([N], tl.float32)
    context_NV = tl.zeros([N, PADDED_V], tl.float32)
    for first_column in range(first, stop, N):
        column_N = first_column + at_N
        exists_N = column_N < num_frames
        right_NN = _turned_product(
            position_NK, distance, num_distances // 2 + first_column - first_row, turn_NN,
            distance_k, distance_p, num_distances, K, PADDED_K, N, PRECISION,
        )  # fmt: skip
        key_KN = tl.load(
            key + column_N[None, :] * key_t + at_K[:, None],
            exists_N[None, :] & (at_K < K)[:, None],
            0.0,
        )
        scores_NN = tl.dot(
            content_NK, key_KN, tl.where(is_right, right_NN, left_NN), input_precision=PRECISION
        )
        left_NN = right_NN
        seen = exists_N[None, :]
        if is_padding is not None:
            hidden_N = tl.load(is_padding + batch * num_frames + column_N, exists_N, 1)
            seen = seen & (hidden_N == 0)[None, :]
        if reach is not None:
            apart_NN = tl.abs(row_N[:, None] - column_N[None, :])
            seen = (apart_NN <= reach) & (seen | (apart_NN == 0))
        scores_NN = tl.where(seen, scores_NN * _LOG2_E, float("-inf"))
        new_highest_N = tl.maximum(highest_N, tl.max(scores_NN, 1))
        level_N = tl.where(new_highest_N == float("-inf"), 0.0, new_highest_N)
        weights_NN = tl.exp2(scores_NN - level_N[:, None])
        kept_N = tl.exp2(highest_N - level_N)
        sum_N = sum_N * kept_N + tl.sum(weights_NN, 1)
        value_NV = tl.load(
            value + column_N[:, None] * value_t + at_V[None, :],
            exists_N[:, None] & (at_V < V)[None, :],
            0.0,
        )
        context_NV = tl.dot(
            weights_NN.to(value_NV.dtype),
            value_NV,
            context_NV * kept_N[:, None],
            input_precision=PRECISION,
        )
        highest_N = new_highest_N
    context_NV = context_NV / tl.where(sum_N == 0.0, 1.0, sum_N)[:, None]
    context += (batch * num_frames * num_heads + head) * V
    tl.store(
        context + row_N[:, None] * num_heads * V + at_V[None, :],
        context_NV.to(context.dtype.element_ty),
        (row_N < num_frames)[:, None] & (at_V < V)[None, :],
    )


@triton.jit  # type: ignore[untyped-decorator]
def _biased(
    query_NK: tl.tensor, bias: tl.tensor, scale: tl.tensor, at_K: tl.tensor, K: tl.constexpr
) -> tl.tensor:
    """Return ``(query + bias) * scale``, computed in float32 and rounded once."""
    bias_K = tl.load(bias + at_K, at_K < K, 0.0).to(tl.float32)
    return ((query_NK.to(tl.float32) + bias_K[None, :]) * scale).to(query_NK.dtype)


@triton.jit  # type: ignore[untyped-decorator]
def _turned_product(
    position_NK: tl.tensor,
    distance: tl.tensor,
    first: tl.tensor,
    turn_NN: tl.tensor,
    distance_k: tl.tensor,
    distance_p: tl.tensor,
    num_distances: tl.tensor,
    K: tl.constexpr,
    PADDED_K: tl.constexpr,
    N: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return products with N distances from ``first`` on, row i rotated by i columns."""
    at_P = first + tl.arange(0, N)
    at_K = tl.arange(0, PADDED_K)
    r_KN = tl.load(
        distance + at_K[:, None] * distance_k + at_P[None, :] * distance_p,
        (at_K < K)[:, None] & ((at_P >= 0) & (at_P < num_distances))[None, :],
        0.0,
    )
    return tl.gather(tl.dot(position_NK, r_KN, input_precision=PRECISION), turn_NN, 1)


class Tiling(NamedTuple):
    """Launch settings of the kernel: tile size, warps per tile, and pipeline stages."""

    tile: int
    num_warps: int
    num_stages: int


def tiling(dtype: torch.dtype, head_dim: int, value_dim: int) -> Tiling | None:
    """Return the largest tiles whose sums fit in registers; None if there are none.

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
    """Return the smallest power of two, 16 or more, that holds ``width``, as tiles require."""
    return int(max(16, triton.next_power_of_2(width)))


def relative_attention(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    r_HKP: Tensor,
    content_bias_HK: Tensor,
    position_bias_HK: Tensor,
    padding_mask: Tensor | None,
    reach: int | None,
) -> Tensor:
    """Return the context (B, T, H, V) of queries, keys, values and projected distances.

    All inputs have one dtype, and the middle distance is zero. ``content_bias_HK`` (u) and
    ``position_bias_HK`` (v) are added to the queries, which are then scaled. ``padding_mask``
    (B, T) and ``reach`` are those of `asr.nn.positions.Positions.attend`. Rows that see nothing
    give zeros. Sums are in float32, and so are products of float32, or in TF32 if
    ``torch.set_float32_matmul_precision`` allows it.
    """
    context_BTHV: Tensor = torch.ops.asr.relative_attention(
        q_BHTK, k_BHTK, v_BHTV, r_HKP, content_bias_HK, position_bias_HK, padding_mask, reach
    )
    return context_BTHV


def _launch(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    r_HKP: Tensor,
    content_bias_HK: Tensor,
    position_bias_HK: Tensor,
    padding_mask: Tensor | None,
    reach: int | None,
) -> Tensor:
    q_BHTK, k_BHTK, v_BHTV = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (q_BHTK, k_BHTK, v_BHTV)
    )
    batch, num_heads, num_frames, head_dim = k_BHTK.shape
    value_dim = v_BHTV.shape[-1]
    cut = tiling(v_BHTV.dtype, head_dim, value_dim)
    assert cut is not None, "the caller asks whether there is a tiling"
    context_BTHV = v_BHTV.new_empty(batch, num_frames, num_heads, value_dim)
    is_padding = None if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
    attend_tile[triton.cdiv(num_frames, cut.tile), batch * num_heads](
        q_BHTK,
        content_bias_HK.contiguous(),
        position_bias_HK.contiguous(),
        k_BHTK,
        v_BHTV,
        r_HKP,
        is_padding,
        context_BTHV,
        *q_BHTK.stride()[:3],
        *k_BHTK.stride()[:3],
        *v_BHTV.stride()[:3],
        *r_HKP.stride(),
        num_heads,
        num_frames,
        r_HKP.shape[-1],
        reach,
        head_dim**-0.5,
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


def _shape(query: Tensor, key: Tensor, value: Tensor, *_: object) -> Tensor:
    return torch.empty_like(value.transpose(1, 2), memory_format=torch.contiguous_format)


define(
    "relative_attention(Tensor query, Tensor key, Tensor value, Tensor distances, "
    "Tensor content_bias, Tensor position_bias, Tensor? padding_mask, int? reach) -> Tensor",
    _launch,
    shape=_shape,
)


@register_flop_formula(torch.ops.asr.relative_attention)
def _flops(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    distances: Sequence[int],
    content_bias: Sequence[int],
    position_bias: Sequence[int],
    padding_mask: Sequence[int] | None,
    reach: int | None,
    **_: object,
) -> int:
    num_frames, head_dim = key[-2:]
    num_seen = num_frames if reach is None else min(num_frames, 2 * reach + 1)
    return 2 * math.prod(key[:-1]) * num_seen * (2 * head_dim + value[-1])
