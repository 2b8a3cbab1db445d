"""Attention for training that recomputes attention maps in the backward pass, to save memory.

`attend` stores queries, keys and values; its backward pass computes the map again, tile by tile
(Dao et al. 2022, FlashAttention, section 3.1, which also stores maxima and sums). `attention_map`
stores only the map, no intermediate results. `mix_by_map` stores the map it was given, which layers
share, and neither the mask nor the product of dropout.

Shape legend: B batch, H heads, T frames, K head width, V value width, R rows of a tile, S frames
visible to a tile of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr.nn.dropout import DropoutDraw, DropoutMasks, keep_
from asr.nn.tiles import Operands, RowTile, score_tiles

_Gradients = tuple[Tensor | None, ...]


def attend(operands: Operands, v_BHTV: Tensor, tiles: Sequence[RowTile], dropout: float) -> Tensor:
    """Return the context (B, H, T, V): softmax of the scores, with dropout, times values."""
    operands = operands.of_one_dtype()
    v_BHTV = v_BHTV.to(operands.k_BHTK.dtype)
    context_BHTV: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        v_BHTV, tiles, DropoutDraw.at(dropout), *operands
    )
    return context_BHTV


def attention_map(operands: Operands, tiles: Sequence[RowTile]) -> Tensor:
    """Return the softmax (B, H, T, T) of the scores; ``tiles`` see all frames."""
    probs_BHTT: Tensor = _Map.apply(  # type: ignore[no-untyped-call]
        tiles, *operands.of_one_dtype()
    )
    return probs_BHTT


def mix_by_map(probs_BHTT: Tensor, v_BHTV: Tensor, dropout: float) -> Tensor:
    """Return the context (B, H, T, V) for a map, or rows of a map, with dropout.

    The product is computed in the lower of the two precisions. The axis of heads may be absent.
    """
    if probs_BHTT.dtype.itemsize < v_BHTV.dtype.itemsize:
        v_BHTV = v_BHTV.to(probs_BHTT.dtype)
    context_BHTV: Tensor = _Mix.apply(  # type: ignore[no-untyped-call]
        probs_BHTT, v_BHTV, DropoutDraw.at(dropout)
    )
    return context_BHTV


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        v_BHTV: Tensor,
        tiles: Sequence[RowTile],
        draw: DropoutDraw | None,
        *operands: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(v_BHTV, *operands)
        ctx.tiles, ctx.draw = tiles, draw
        given = Operands(*operands)  # type: ignore[arg-type]
        batch, num_heads, num_frames, _ = given.content_BHTK.shape
        # Heads inside frames, as the output projection reads them.
        context_BTHV = v_BHTV.new_empty(batch, num_frames, num_heads, v_BHTV.shape[3])
        context_BHTV = context_BTHV.transpose(1, 2)
        masks = None if draw is None else draw.masks(v_BHTV.device)
        with _as_given(v_BHTV):
            for tile in score_tiles(given, tiles):
                probs = tile.probs().to(v_BHTV.dtype)
                if masks is not None:
                    keep_(probs, masks.next(probs))
                context_BHTV[tile.rows] = probs @ v_BHTV[tile.seen]
        return context_BHTV if draw is None else context_BHTV.mul_(draw.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BHTV: Tensor) -> _Gradients:
        v_BHTV, *operands = ctx.saved_tensors
        given, total = Operands(*operands), _zeros(operands)
        v_total = torch.zeros_like(v_BHTV)
        masks = None if ctx.draw is None else ctx.draw.masks(v_BHTV.device)
        scale = 1.0 if ctx.draw is None else ctx.draw.scale
        with _as_given(v_BHTV):
            for tile in score_tiles(given, ctx.tiles):
                gradient = gradient_BHTV[tile.rows] * scale
                probs = tile.probs()
                probs_gradient = (gradient @ v_BHTV[tile.seen].transpose(-1, -2)).to(probs.dtype)
                dropped = probs
                if masks is not None:
                    mask = masks.next(probs)
                    keep_(probs_gradient, mask)
                    dropped = keep_(probs.clone(), mask)
                v_total[tile.seen] += dropped.to(v_BHTV.dtype).transpose(-1, -2) @ gradient
                tile.add_gradient(probs, probs_gradient, total)
        return v_total, None, None, *total


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tiles: Sequence[RowTile], *operands: Tensor | None) -> Tensor:
        given = Operands(*operands)  # type: ignore[arg-type]
        batch, num_heads, num_frames, _ = given.content_BHTK.shape
        k_BHTK = given.k_BHTK
        dtype = torch.promote_types(k_BHTK.dtype, torch.float32)
        probs_BHTT = k_BHTK.new_empty(batch, num_heads, num_frames, k_BHTK.shape[2], dtype=dtype)
        with _as_given(k_BHTK):
            for tile in score_tiles(given, tiles):
                probs_BHTT[tile.rows] = tile.probs()
        ctx.save_for_backward(probs_BHTT, *operands)
        ctx.tiles = tiles
        return probs_BHTT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BHTT: Tensor) -> _Gradients:
        probs_BHTT, *operands = ctx.saved_tensors
        given, total = Operands(*operands), _zeros(operands)
        with _as_given(probs_BHTT):
            for tile in score_tiles(given, ctx.tiles):
                tile.add_gradient(probs_BHTT[tile.rows], gradient_BHTT[tile.rows], total)
        return None, *total


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, v: Tensor, draw: DropoutDraw | None) -> Tensor:
        ctx.save_for_backward(probs, v)
        ctx.draw = draw
        masks = None if draw is None else draw.masks(v.device)
        with _as_given(v):
            contexts = [
                _dropped(some.to(v.dtype), masks) @ values for some, values in _split(probs, v)
            ]
        context = torch.cat(contexts)
        return context if draw is None else context.mul_(draw.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        probs, v = ctx.saved_tensors
        probs_total, v_total = torch.empty_like(probs), torch.empty_like(v)
        masks = None if ctx.draw is None else ctx.draw.masks(v.device)
        if ctx.draw is not None:
            gradient = gradient * ctx.draw.scale
        parts = _split(probs, v, gradient, probs_total, v_total)
        with _as_given(v):
            for some, values, given, some_total, values_total in parts:
                some = some.to(v.dtype)
                some_gradient = given @ values.transpose(-1, -2)
                if masks is not None:
                    mask = masks.next(some)
                    keep_(some_gradient, mask)
                    some = keep_(some.clone(), mask)
                some_total.copy_(some_gradient)
                values_total.copy_(some.transpose(-1, -2) @ given)
        return probs_total, v_total, None


def _dropped(probs: Tensor, masks: DropoutMasks | None) -> Tensor:
    return probs if masks is None else keep_(probs.clone(), masks.next(probs))


def _split(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split by utterance on a CPU, whose cache holds one map; elsewhere do not split."""
    step = 1 if tensors[0].is_cpu else len(tensors[0])
    return zip(*(torch.split(tensor, step) for tensor in tensors), strict=True)


def _zeros(operands: Sequence[Tensor | None]) -> Operands:
    return Operands(*(None if one is None else torch.zeros_like(one) for one in operands))  # type: ignore[arg-type]


def _as_given(like: Tensor) -> torch.autocast:
    """Disable autocast, so that operations run in the precision of their inputs."""
    return torch.autocast(like.device.type, enabled=False)
