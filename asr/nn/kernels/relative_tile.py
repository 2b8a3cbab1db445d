"""The kernel of attention with relative positions: a tile of rows against all columns.

Online softmax over square tiles (Dao 2023, FlashAttention-2) with the scores of `asr.nn.relative`;
how a tile comes by its position term is ours. Its first row and column have one distance between
them. Let X[i, s] be the product of row i with the distance of s columns more, 0 <= s < N; the tile
to the left has a product of its own, with the N distances before. Row i and column j need

    X[i, j - i]        where j >= i
    X[i, N + j - i]    of the tile to the left elsewhere.

Both stand in column (j - i) mod N. So a product is turned once, row i by i columns, and serves two
tiles; a tile costs one product with N distances, no more than its content term.

Shape legend: B batch, H heads, T frames, K head width, V value width, P distances, N rows and
columns of a tile.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(math.log2(math.e))


@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["num_heads", "num_frames", "num_distances", "reach"]
)  # one compilation serves all lengths
def attend_tile(
    content: tl.tensor,
    position: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    distance: tl.tensor,
    is_padding: tl.tensor,
    context: tl.tensor,
    content_b: tl.tensor,
    content_h: tl.tensor,
    content_t: tl.tensor,
    position_b: tl.tensor,
    position_h: tl.tensor,
    position_t: tl.tensor,
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
    K: tl.constexpr,
    V: tl.constexpr,
    PADDED_K: tl.constexpr,
    PADDED_V: tl.constexpr,
    N: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """One tile of rows of one head; ``name_b`` is the stride of ``name`` along B, and so on."""
    first_row = tl.program_id(0) * N
    batch = (tl.program_id(1) // num_heads).to(tl.int64)
    head = (tl.program_id(1) % num_heads).to(tl.int64)
    at_N = tl.arange(0, N)
    at_K = tl.arange(0, PADDED_K)
    at_V = tl.arange(0, PADDED_V)
    row_N = first_row + at_N
    rows_exist = (row_N < num_frames)[:, None] & (at_K < K)[None, :]
    content += batch * content_b + head * content_h
    position += batch * position_b + head * position_h
    key += batch * key_b + head * key_h
    value += batch * value_b + head * value_h
    distance += head * distance_h
    content_NK = tl.load(content + row_N[:, None] * content_t + at_K[None, :], rows_exist, 0.0)
    position_NK = tl.load(position + row_N[:, None] * position_t + at_K[None, :], rows_exist, 0.0)

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
    """Products with N distances from ``first`` on, row i turned by i columns."""
    at_P = first + tl.arange(0, N)
    at_K = tl.arange(0, PADDED_K)
    r_KN = tl.load(
        distance + at_K[:, None] * distance_k + at_P[None, :] * distance_p,
        (at_K < K)[:, None] & ((at_P >= 0) & (at_P < num_distances))[None, :],
        0.0,
    )
    return tl.gather(tl.dot(position_NK, r_KN, input_precision=PRECISION), turn_NN, 1)
