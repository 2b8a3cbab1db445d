"""Naive loops for the methods whose layers attend for themselves; see `reference`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr.encoder.stack import Encoder
from tests.equivalence.reference import (
    Head,
    Place,
    Seen,
    mix,
    own_scores,
    sinusoids,
    softmax,
    turn,
    values,
)


def few_heads(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """All that has to be known is their number."""
    heads = own_scores(layer, setting(place, "num_heads"), encoder.d_model)
    return mix([softmax(head) for head in heads], values(layer), layer.attention)


def local(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """Scores of frames out of sight are no scores."""
    width, heads = setting(place, "width"), own_scores(layer, encoder.num_heads, encoder.d_model)
    for head in heads:
        for i, row_T in enumerate(head):
            for j in range(len(row_T)):
                if abs(i - j) > width:
                    row_T[j] = -math.inf
    return mix([softmax(head) for head in heads], values(layer), layer.attention)


def grouped(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """Groups side by side, filled up with zeros, attended, and taken apart again."""
    span = setting(place, "frames_per_group")
    num_frames, d_model = layer.x_TD.shape
    attention = layer.attention

    def groups_of(name: str) -> list[Tensor]:
        projected_TD = attention.get_submodule(name)(layer.x_TD)
        missing = -num_frames % span
        frames = [*projected_TD, *[torch.zeros(d_model)] * missing]
        return [torch.cat(frames[start : start + span]) for start in range(0, len(frames), span)]

    queries, keys = groups_of("scores.query"), groups_of("scores.key")
    wide_values = groups_of("mix.value")
    contexts = [torch.zeros(span * d_model) for _ in queries]
    width = span * d_model // encoder.num_heads
    for head in range(encoder.num_heads):
        channels = slice(head * width, (head + 1) * width)
        rows: Head = []
        for a, q_G in enumerate(queries):
            row = [
                score_at(
                    attention,
                    q_G[channels],
                    k_G[channels],
                    head,
                    d_model,
                    distance=(a - b) * span,
                    query_time=a,
                    key_time=b,
                )
                for b, k_G in enumerate(keys)
            ]
            rows.append(torch.tensor(row))
        for a, row_G in enumerate(softmax(rows)):
            for weight, v_G in zip(row_G.tolist(), wide_values, strict=True):
                contexts[a][channels] += weight * v_G[channels]
    context_TD = torch.cat(contexts).view(-1, d_model)[:num_frames]
    output_TD: Tensor = attention.get_submodule("mix.output")(context_TD)
    return output_TD


def pooled(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """Every query against the mean key of each pool, which stands at its middle frame."""
    size, d_model = setting(place, "pool_size"), encoder.d_model
    attention, num_frames = layer.attention, len(layer.x_TD)
    q_TD, k_TD = (
        attention.get_submodule(f"scores.{name}")(layer.x_TD) for name in ("query", "key")
    )
    pools = [range(start, min(start + size, num_frames)) for start in range(0, num_frames, size)]
    keys = [torch.stack([k_TD[frame] for frame in pool]).mean(0) for pool in pools]
    pooled_values = torch.stack(
        [torch.stack([values(layer)[frame] for frame in pool]).mean(0) for pool in pools]
    )
    middles = [pool.start + (size - 1) // 2 for pool in pools]
    width, heads = d_model // encoder.num_heads, []
    for head in range(encoder.num_heads):
        channels = slice(head * width, (head + 1) * width)
        rows = []
        for i, q_D in enumerate(q_TD):
            row = [
                score_at(
                    attention,
                    q_D[channels],
                    k_D[channels],
                    head,
                    d_model,
                    distance=i - middle,
                    query_time=i,
                    key_time=middle,
                )
                for k_D, middle in zip(keys, middles, strict=True)
            ]
            rows.append(torch.tensor(row))
        heads.append(softmax(rows))
    return mix(heads, pooled_values, attention)


def linear(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """Katharopoulos et al. 2020, eq. 4; RoFormer eq. 19 where positions are rotary."""
    attention, v_TD = layer.attention, values(layer)
    q_TD, k_TD = (
        attention.get_submodule(f"scores.{name}")(layer.x_TD) for name in ("query", "key")
    )
    rotary = encoder.positions.__name__ == "RotaryPositions"
    width, context_TD = encoder.d_model // encoder.num_heads, torch.zeros_like(v_TD)
    for head in range(encoder.num_heads):
        channels = slice(head * width, (head + 1) * width)
        for i in range(len(q_TD)):
            q_K, total = feature(q_TD[i, channels]), 0.0
            for j in range(len(k_TD)):
                k_K = feature(k_TD[j, channels])
                weight = float(turn(q_K, i) @ turn(k_K, j)) if rotary else float(q_K @ k_K)
                context_TD[i, channels] += weight * v_TD[j, channels]
                total += float(q_K @ k_K)
            context_TD[i, channels] /= total
    output_TD: Tensor = attention.get_submodule("mix.output")(context_TD)
    return output_TD


def absent(encoder: Encoder, place: Place, layer: Seen) -> Tensor:
    """Attention as usual below the first layer without, nothing from there on."""
    first_layer = setting(place, "first_layer")
    if place.index >= (place.num_layers // 2 if first_layer is None else first_layer):
        return torch.zeros_like(layer.x_TD)
    heads = own_scores(layer, encoder.num_heads, encoder.d_model)
    return mix([softmax(head) for head in heads], values(layer), layer.attention)


def setting(place: Place, name: str) -> Any:
    """A setting of the method."""
    return getattr(place.reuse, name)


def score_at(
    attention: Any,
    q_K: Tensor,
    k_K: Tensor,
    head: int,
    d_model: int,
    *,
    distance: int,
    query_time: int,
    key_time: int,
) -> float:
    """Scaled score of a query and a key that stand where they are said to."""
    positions, width = attention.scores.positions, len(q_K)
    kind = type(positions).__name__
    if kind.endswith("RelativePositions"):
        w_KD = positions.position.weight[head * width : (head + 1) * width]
        content = (q_K + positions.content_bias_HK[head]) @ k_K
        total = content + (q_K + positions.position_bias_HK[head]) @ (
            w_KD @ sinusoids(distance, d_model)
        )
    elif kind.endswith("RotaryPositions"):
        total = turn(q_K, query_time) @ turn(k_K, key_time)
    else:
        assert kind == "Positions"
        total = q_K @ k_K
    return float(total) / math.sqrt(width)


def feature(x_K: Tensor) -> Tensor:
    """elu(x) + 1."""
    return torch.tensor([x + 1.0 if x > 0 else math.exp(x) for x in x_K.tolist()])


WAYS: dict[str, Callable[[Encoder, Place, Seen], Tensor]] = {
    way.__name__: way for way in (few_heads, local, grouped, pooled, linear, absent)
}
