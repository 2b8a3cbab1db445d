"""Attention with reuse, written again from the papers: per utterance, per head, per row.

Slow and plain on purpose. Only weights are taken from the modules under test; every formula, the
schedule and the padding are followed here independently. Of the layer around the attention the
modules themselves are used, called on one unpadded utterance at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from asr.encoder.conformer_layer import ConformerLayer
from asr.encoder.stack import Encoder
from asr.encoder.transformer_layer import TransformerLayer

BASE = 10_000.0


def encode_alone(encoder: Encoder, features_TF: Tensor, leaders: list[int]) -> Tensor:
    """Encoder output (T', D) of one utterance; ``leaders`` as one index per layer."""
    x_BTD, _ = encoder.subsampling(features_TF[None], torch.tensor([len(features_TF)]))
    x_TD = x_BTD[0]
    maps: dict[int, list[list[Tensor]]] = {}
    for index, layer in enumerate(encoder.layers):
        if isinstance(layer, ConformerLayer):
            x_TD = x_TD + 0.5 * layer.feedforward_in(x_TD[None])[0]
        else:
            assert isinstance(layer, TransformerLayer)
        normed_TD = layer.attention_norm(x_TD)
        if leaders[index] == index:
            maps[index] = attention_map(encoder, layer.attention, normed_TD)
        x_TD = x_TD + mix(layer.attention, normed_TD, maps[leaders[index]])
        if isinstance(layer, ConformerLayer):
            x_TD = x_TD + layer.convolution(x_TD[None], None)[0]
            x_TD = layer.norm(x_TD + 0.5 * layer.feedforward_out(x_TD[None])[0])
        else:
            x_TD = x_TD + layer.feedforward(x_TD[None])[0]
    output_TD: Tensor = encoder.norm(x_TD)
    return output_TD


def attention_map(encoder: Encoder, attention: nn.Module, x_TD: Tensor) -> list[list[Tensor]]:
    """For each head and each row i the probabilities (T,) over the frames j."""
    scores = attention.get_submodule("scores")
    query, key = scores.get_submodule("query"), scores.get_submodule("key")
    positions = scores.get_submodule("positions")
    num_heads = encoder.num_heads
    width = encoder.d_model // num_heads
    num_frames = len(x_TD)
    heads = []
    for head in range(num_heads):
        channels = slice(head * width, (head + 1) * width)
        rows = []
        for i in range(num_frames):
            q_K = query(x_TD[i])[channels]
            row = []
            for j in range(num_frames):
                k_K = key(x_TD[j])[channels]
                row.append(score(positions, q_K, k_K, i, j, head, encoder.d_model))
            weights = [math.exp(value - max(row)) for value in row]
            rows.append(torch.tensor([weight / sum(weights) for weight in weights]))
        heads.append(rows)
    return heads


def score(
    positions: nn.Module, q_K: Tensor, k_K: Tensor, i: int, j: int, head: int, d_model: int
) -> float:
    """Scaled score of query frame i and key frame j."""
    width = len(q_K)
    kind = type(positions).__name__
    if kind == "RelativePositions":  # Dai et al. 2019, section 3.3
        u_K = positions.get_parameter("content_bias_HK")[head]
        v_K = positions.get_parameter("position_bias_HK")[head]
        angles = [(i - j) / BASE ** (channel / d_model) for channel in range(0, d_model, 2)]
        r_D = torch.tensor([wave(angle) for angle in angles for wave in (math.sin, math.cos)])
        w_KD = positions.get_parameter("position.weight")[head * width : (head + 1) * width]
        total = (q_K + u_K) @ k_K + (q_K + v_K) @ (w_KD @ r_D)
    elif kind == "RotaryPositions":  # Su et al. 2021, eq. 34, with pairs half a head apart
        total = turn(q_K, i) @ turn(k_K, j)
    else:
        assert kind == "Positions"
        total = q_K @ k_K
    return float(total) / math.sqrt(width)


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


def mix(attention: nn.Module, x_TD: Tensor, heads: list[list[Tensor]]) -> Tensor:
    """Own values weighted by a map, through the own output projection, (T, D)."""
    own = attention.get_submodule("mix")
    v_TD = own.get_submodule("value")(x_TD)
    width = v_TD.shape[1] // len(heads)
    context_TD = torch.zeros_like(v_TD)
    for head, rows in enumerate(heads):
        channels = slice(head * width, (head + 1) * width)
        for i, row_T in enumerate(rows):
            for j, weight in enumerate(row_T):
                context_TD[i, channels] += weight * v_TD[j, channels]
    output_TD: Tensor = own.get_submodule("output")(context_TD)
    return output_TD
