"""Attention with reuse, written again from the papers: per utterance, per head, per row.

Slow and plain on purpose. Only weights and settings are taken from the modules under test; every
formula, the schedule and the padding are followed here independently. Of the layer around the
attention the modules themselves are used, called on one unpadded utterance at a time.

A head is a list of rows, a row a tensor over the frames that can be attended to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from asr.encoder.conformer import ConformerLayer
from asr.encoder.stack import Encoder
from asr.encoder.transformer import TransformerLayer
from asr.nn.frames import Frames
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.heads import ReuseHeads
from asr.reuse.mixed import Mixed
from asr.reuse.top_k import ReuseTopK

BASE = 10_000.0

Head = list[Tensor]


@dataclass
class Seen:
    """What the loops remember of a layer: its attention, its input, its scores and its map."""

    attention: nn.Module
    x_TD: Tensor
    scores: list[Head] = field(default_factory=list)
    probs: list[Head] = field(default_factory=list)


def encode_alone(encoder: Encoder, features_TF: Tensor, leaders: list[int]) -> Tensor:
    """Encoder output (T', D) of one utterance; ``leaders`` as one index per layer."""
    x_BTD, _ = encoder.subsampling(features_TF[None], torch.tensor([len(features_TF)]))
    x_TD = x_BTD[0]
    groups: dict[int, list[Seen]] = {}
    places = places_of(encoder.reuse, encoder.num_layers)
    for index, (layer, place) in enumerate(zip(encoder.layers, places, strict=True)):
        if isinstance(layer, ConformerLayer):
            x_TD = x_TD + 0.5 * layer.feedforward_in(x_TD[None])[0]
        else:
            assert isinstance(layer, TransformerLayer)
        group = groups.setdefault(leaders[index], [])
        group.append(Seen(layer.attention, layer.attention_norm(x_TD)))
        x_TD = x_TD + attend(encoder, place, group)
        if isinstance(layer, ConformerLayer):
            x_TD = x_TD + layer.convolution(x_TD[None], Frames())[0]
            x_TD = layer.norm(x_TD + 0.5 * layer.feedforward_out(x_TD[None])[0])
        else:
            x_TD = x_TD + layer.feedforward(x_TD[None])[0]
    output_TD: Tensor = encoder.norm(x_TD)
    return output_TD


@dataclass
class Place:
    """The method a layer is under, and where it stands among the layers of that method."""

    reuse: ReuseMethod
    index: int
    num_layers: int


def places_of(reuse: ReuseMethod, num_layers: int) -> list[Place]:
    """The place of every layer; parts of a mixed schedule share what is left to them."""
    if not isinstance(reuse, Mixed):
        return [Place(reuse, index, num_layers) for index in range(num_layers)]
    num_shares = sum(part.layers is None for part in reuse.parts)
    num_left = num_layers - sum(part.layers or 0 for part in reuse.parts)
    places = []
    for part in reuse.parts:
        size = num_left // num_shares if part.layers is None else part.layers
        places += [Place(part.method, index, size) for index in range(size)]
    return places


def attend(encoder: Encoder, place: Place, group: list[Seen]) -> Tensor:
    """Attention output (T, D) of the latest layer of a group; the first is its leader."""
    from tests.equivalence.reference_alone import WAYS  # it builds on the loops of this file

    leader, layer = group[0], group[-1]
    reuse, d_model = place.reuse, encoder.d_model
    if reuse.name in WAYS:
        return WAYS[reuse.name](encoder, place, layer)
    if layer is leader:
        layer.scores = own_scores(layer, encoder.num_heads, d_model)
        layer.probs = [softmax(head) for head in layer.scores]
        return mixed_within(layer) if reuse.name == "within" else mixed(layer)
    before = group[-2]
    if reuse.name == "probs":
        return mix(leader.probs, values(layer), layer.attention)
    if isinstance(reuse, ReuseBand):
        layer.probs = [
            renormalised(head, near_diagonal(head, reuse.width)) for head in leader.probs
        ]
        return mixed(layer)
    if isinstance(reuse, ReuseTopK):
        layer.probs = [renormalised(head, largest(head, reuse.num_kept)) for head in leader.probs]
        return mixed(layer)
    if reuse.name == "heads":
        layer.probs = emitted_heads(reuse, layer, before, encoder)
        return mixed(layer)
    if reuse.name == "scores":
        layer.scores = [
            [row_T + correction(layer, head, i, encoder.num_heads) for i, row_T in enumerate(rows)]
            for head, rows in enumerate(before.scores)
        ]
        return mix([softmax(head) for head in layer.scores], values(layer), layer.attention)
    if reuse.name == "kv":
        scores = foreign_scores(layer, leader, encoder.num_heads, d_model)
        return mix([softmax(head) for head in scores], values(leader), layer.attention)
    assert reuse.name == "context"
    return mix(leader.probs, values_for(leader, len(group) - 1), layer.attention)


def mixed(layer: Seen) -> Tensor:
    """The layer's own values mixed by its map, (T, D)."""
    return mix(layer.probs, values(layer), layer.attention)


def mixed_within(layer: Seen) -> Tensor:
    """One mix after the other by the same map, each reading what those before it added, (T, D)."""
    sum_TD = mixed(layer)
    for further in layer.attention.get_submodule("further").children():
        normalised_TD = further.get_submodule("norm")(layer.x_TD + sum_TD)
        sum_TD = sum_TD + mixed(Seen(further, normalised_TD, probs=layer.probs))
    return sum_TD


def near_diagonal(head: Head, width: int) -> list[set[int]]:
    """The keys at most ``width`` frames from each row."""
    return [{j for j in range(len(head)) if abs(i - j) <= width} for i in range(len(head))]


def largest(head: Head, num_kept: int) -> list[set[int]]:
    """The keys of the largest entries of each row."""
    return [set(row_T.argsort(descending=True)[:num_kept].tolist()) for row_T in head]


def renormalised(head: Head, kept: list[set[int]]) -> Head:
    """Each row with the entries that are kept, divided by their sum."""
    rows = []
    for row_T, keys in zip(head, kept, strict=True):
        total = sum(float(row_T[j]) for j in keys)
        rows.append(
            torch.tensor([float(row_T[j]) / total * (j in keys) for j in range(len(row_T))])
        )
    return rows


def emitted_heads(reuse: ReuseMethod, layer: Seen, before: Seen, encoder: Encoder) -> list[Head]:
    """Fresh heads, then the first of those that the layer before it emitted."""
    assert isinstance(reuse, ReuseHeads)
    num_fresh = encoder.num_heads - reuse.num_reused
    fresh = own_scores(layer, num_fresh, encoder.d_model) if num_fresh else []
    return [softmax(head) for head in fresh] + before.probs[: reuse.num_reused]


def own_scores(layer: Seen, num_heads: int, d_model: int) -> list[Head]:
    """Scores of queries, keys and positions of one layer."""
    return foreign_scores(layer, layer, num_heads, d_model)


def foreign_scores(asking: Seen, asked: Seen, num_heads: int, d_model: int) -> list[Head]:
    """Scores of the queries (and u, v) of one layer and the keys (and W) of another."""
    own, other = (seen.attention.get_submodule("scores") for seen in (asking, asked))
    q_TD, k_TD = (
        own.get_submodule("query")(asking.x_TD),
        other.get_submodule("key")(asked.x_TD),
    )
    width = q_TD.shape[1] // num_heads
    heads = []
    for head in range(num_heads):
        channels = slice(head * width, (head + 1) * width)
        q_TK, k_TK = q_TD[:, channels], k_TD[:, channels]
        rows = []
        for i in range(len(q_TK)):
            row = [
                score(
                    own.get_submodule("positions"),
                    other.get_submodule("positions"),
                    q_TK[i],
                    k_TK[j],
                    (i, j),
                    head,
                    d_model,
                )
                for j in range(len(k_TK))
            ]
            rows.append(torch.tensor(row))
        heads.append(rows)
    return heads


def score(
    query_side: nn.Module,
    key_side: nn.Module,
    q_K: Tensor,
    k_K: Tensor,
    at: tuple[int, int],
    head: int,
    d_model: int,
) -> float:
    """Scaled score of a query at frame i and a key at frame j."""
    width, (i, j) = len(q_K), at
    kind = type(key_side).__name__
    if kind == "RelativePositions":  # Dai et al. 2019, section 3.3
        u_K = query_side.get_parameter("content_bias_HK")[head]
        v_K = query_side.get_parameter("position_bias_HK")[head]
        r_D = sinusoids(i - j, d_model)
        w_KD = key_side.get_parameter("position.weight")[head * width : (head + 1) * width]
        total = (q_K + u_K) @ k_K + (q_K + v_K) @ (w_KD @ r_D)
    elif kind == "RotaryPositions":  # Su et al. 2021, eq. 34, with pairs half a head apart
        total = turn(q_K, i) @ turn(k_K, j)
    else:
        assert kind == "Positions"
        total = q_K @ k_K
    return float(total) / math.sqrt(width)


@cache
def sinusoids(distance: int, d_model: int) -> Tensor:
    """Sine and cosine of a distance over each wavelength, in turn, (D,)."""
    angles = [distance / BASE ** (channel / d_model) for channel in range(0, d_model, 2)]
    return torch.tensor([wave(angle) for angle in angles for wave in (math.sin, math.cos)])


def turn(x_K: Tensor, time: int) -> Tensor:
    """A query or key with each channel pair turned by ``time`` over its wavelength."""
    half = len(x_K) // 2
    turned_K = torch.empty_like(x_K)
    for pair in range(half):
        angle = time / BASE ** (2 * pair / len(x_K))
        a, b = x_K[pair], x_K[pair + half]
        turned_K[pair] = a * math.cos(angle) - b * math.sin(angle)
        turned_K[pair + half] = a * math.sin(angle) + b * math.cos(angle)
    return turned_K


def correction(layer: Seen, head: int, i: int, num_heads: int) -> Tensor:
    """What a follower adds to row i of the scores it is handed, (T,)."""
    module = layer.attention.get_submodule("correction")
    kind, added_T = type(module).__name__, torch.zeros(len(layer.x_TD))
    if kind == "DiagonalCorrection":  # the middle of the band belongs to the diagonal
        bias_W = module.get_parameter("bias_HW")[head]
        bandwidth = len(bias_W) // 2
        for j in range(max(0, i - bandwidth), min(len(added_T), i + bandwidth + 1)):
            added_T[j] = bias_W[bandwidth + j - i]
    elif kind == "LowRankCorrection":
        query_DR, key_DR = (
            module.get_parameter(f"narrow_{side}.weight").T for side in ("query", "key")
        )
        rank = query_DR.shape[1] // num_heads
        channels = slice(head * rank, (head + 1) * rank)
        for j in range(len(added_T)):
            q_R = (layer.x_TD[i] @ query_DR)[channels]
            k_R = (layer.x_TD[j] @ key_DR)[channels]
            added_T[j] = q_R @ k_R / math.sqrt(rank)
    else:
        assert kind == "NoCorrection"
    return added_T


def softmax(head: Head) -> Head:
    """Probabilities of each row of scores."""
    rows = []
    for row_T in head:
        values = row_T.tolist()
        weights = [math.exp(value - max(values)) for value in values]
        rows.append(torch.tensor([weight / sum(weights) for weight in weights]))
    return rows


def values(layer: Seen) -> Tensor:
    """The layer's own values of its own input, (T, D)."""
    v_TD: Tensor = layer.attention.get_submodule("mix.value")(layer.x_TD)
    return v_TD


def values_for(leader: Seen, follower: int) -> Tensor:
    """The values that a leader computes for its ``follower``-th follower, counted from 1."""
    d_model = leader.x_TD.shape[1]
    rows = slice((follower - 1) * d_model, follower * d_model)
    weight_DD = leader.attention.get_parameter("followers_value.weight")[rows]
    bias_D = leader.attention.get_parameter("followers_value.bias")[rows]
    return leader.x_TD @ weight_DD.T + bias_D


def mix(heads: list[Head], v_TD: Tensor, attention: nn.Module) -> Tensor:
    """Values weighted by a map, through the layer's own output projection, (T, D)."""
    width = v_TD.shape[1] // len(heads)
    context_TD = torch.zeros(len(heads[0]), v_TD.shape[1])
    for head, rows in enumerate(heads):
        channels = slice(head * width, (head + 1) * width)
        v_TK = v_TD[:, channels].unbind()
        for i, row_T in enumerate(rows):
            for weight, v_K in zip(row_T.tolist(), v_TK, strict=True):
                context_TD[i, channels] += weight * v_K
    output_TD: Tensor = attention.get_submodule("mix.output")(context_TD)
    return output_TD
