"""Transformer attention decoder (Vaswani et al. 2017): the next token by earlier ones and frames.

It runs over whole transcripts in training and in rescoring, and token by token in a search, where
keys and values of earlier tokens are kept. Several transcripts of an utterance (the hypotheses of
a beam) attend to one copy of its frames: to cross-attention they are more rows of queries.

In inference cross-attention may go by EL-attention (Yan et al. 2021): the key projection moves to
the query and the value projection behind the weighted sum, so that the frames themselves are the
keys and values of all heads and layers. The result is the same up to rounding.

Shape legend: B utterances, N = B * G transcripts, S new tokens, U tokens so far, T frames, D width,
H heads, K head width, R = G * S rows of queries, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import InputError
from asr.nn.attention import merge_heads, split_heads
from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward

BOUNDARY_ID = 0
"""Start and end of a transcript: the blank of CTC, which the decoder never writes otherwise."""

LayerCache = tuple[Tensor, Tensor]
"""Keys and values (N, H, U, K) of the tokens so far in one layer."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What transcripts attend to: frames (B, T, D), zero where ``is_valid_BT`` is False.

    ``layers`` are the keys and values (B, H, T, K) of every layer, empty with EL-attention.
    """

    frames_BTD: Tensor
    is_valid_BT: Tensor
    layers: tuple[LayerCache, ...]

    @property
    def num_bytes(self) -> int:
        """What is kept of the frames for all steps."""
        kept = [one for pair in self.layers for one in pair] or [self.frames_BTD]
        return sum(one.numel() * one.element_size() for one in kept)


class Attention(nn.Module):
    """Projections of multi-head attention, of itself or of frames."""

    def __init__(self, *, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.rate = dropout

    def keys_values(self, x_BTD: Tensor) -> LayerCache:
        """Keys and values (B, H, T, K)."""
        return (
            split_heads(self.key(x_BTD), self.num_heads),
            split_heads(self.value(x_BTD), self.num_heads),
        )

    def forward(self, x_BRD: Tensor, keys_values: LayerCache, visible: Tensor) -> Tensor:
        """Output (B, R, D) by rows that see the keys where ``visible`` (broadcast) is True."""
        context_BHRK = functional.scaled_dot_product_attention(
            split_heads(self.query(x_BRD), self.num_heads),
            *keys_values,
            attn_mask=visible,
            dropout_p=self.rate if self.training else 0.0,
        )
        output_BRD: Tensor = self.output(merge_heads(context_BHRK))
        return output_BRD

    def by_frames(self, x_BRD: Tensor, frames_BTD: Tensor, visible: Tensor) -> Tensor:
        """The same by EL-attention: the frames are the keys and values of all heads."""
        heads, (batch, rows, width) = self.num_heads, x_BRD.shape
        q_BHRK = split_heads(self.query(x_BRD), heads) * (width // heads) ** -0.5
        key_HKD = self.key.weight.view(heads, -1, width)
        expanded_BHRD = q_BHRK @ key_HKD
        bias_BHR1 = q_BHRK @ self.key.bias.view(heads, -1, 1)
        scores_BXT = expanded_BHRD.flatten(1, 2) @ frames_BTD.transpose(1, 2)
        scores_BHRT = scores_BXT.view(batch, heads, rows, -1) + bias_BHR1
        probs_BHRT = scores_BHRT.masked_fill(~visible, float("-inf")).softmax(-1)
        context_BXD = probs_BHRT.flatten(1, 2) @ frames_BTD
        value_HDK = self.value.weight.view(heads, -1, width).transpose(1, 2)
        context_BHRK = context_BXD.view(batch, heads, rows, width) @ value_HDK
        context_BHRK = context_BHRK + self.value.bias.view(heads, 1, -1)
        output_BRD: Tensor = self.output(merge_heads(context_BHRK))
        return output_BRD


class DecoderLayer(nn.Module):
    """Attention to the tokens so far, attention to the frames, feed-forward; norms in front."""

    def __init__(self, *, d_model: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.own_norm = nn.LayerNorm(d_model)
        self.own = Attention(d_model=d_model, num_heads=num_heads, dropout=dropout)
        self.cross_norm = nn.LayerNorm(d_model)
        self.cross = Attention(d_model=d_model, num_heads=num_heads, dropout=dropout)
        self.feedforward = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self, x_NSD: Tensor, memory: Memory, layer: int, cache: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Output (N, S, D), and keys and values of all tokens so far."""
        normed_NSD = self.own_norm(x_NSD)
        keys_values = self.own.keys_values(normed_NSD)
        if cache is not None:
            keys_values = (
                torch.cat([cache[0], keys_values[0]], 2),
                torch.cat([cache[1], keys_values[1]], 2),
            )
        num_new, num_all = x_NSD.shape[1], keys_values[0].shape[2]
        causal_SU = torch.ones(num_new, num_all, dtype=torch.bool, device=x_NSD.device)
        causal_SU = causal_SU.tril(num_all - num_new)
        x_NSD = x_NSD + self.dropout(self.own(normed_NSD, keys_values, causal_SU))
        rows_BRD = self.cross_norm(x_NSD).reshape(len(memory.frames_BTD), -1, x_NSD.shape[2])
        visible_B11T = memory.is_valid_BT[:, None, None]
        crossed_BRD = (
            self.cross(rows_BRD, memory.layers[layer], visible_B11T)
            if memory.layers
            else self.cross.by_frames(rows_BRD, memory.frames_BTD, visible_B11T)
        )
        x_NSD = x_NSD + self.dropout(crossed_BRD.view_as(x_NSD))
        return x_NSD + self.feedforward(x_NSD), keys_values


class AttentionDecoder(nn.Module):
    """Embedding with sinusoidal positions, layers, a norm, and logits of the next token.

    Raises:
        InputError: ``num_heads`` does not divide ``d_model``.
    """

    def __init__(
        self,
        *,
        d_model: int,
        vocab_size: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise InputError(
                f"head.num_heads={num_heads} does not divide the width {d_model} of the encoder"
            )
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(d_model=d_model, num_heads=num_heads, ffn_dim=ffn_dim, dropout=dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)

    def memory(self, frames_BTD: Tensor, lengths_B: Tensor, *, by_frames: bool = False) -> Memory:
        """What transcripts attend to; with ``by_frames`` they do by EL-attention.

        An utterance without a frame attends to one frame of zeros.
        """
        frames_BTD = frames_BTD.to(self.output.weight.dtype)
        frames_T = torch.arange(frames_BTD.shape[1], device=frames_BTD.device)
        lengths_B1 = lengths_B.to(frames_BTD.device).unsqueeze(1)
        frames_BTD = frames_BTD.masked_fill((frames_T >= lengths_B1).unsqueeze(-1), 0.0)
        layers: list[LayerCache] = []
        for layer in () if by_frames else self.layers:
            assert isinstance(layer, DecoderLayer)
            layers.append(layer.cross.keys_values(frames_BTD))
        return Memory(frames_BTD, frames_T < lengths_B1.clamp(min=1), tuple(layers))

    def forward(
        self, ids_NS: Tensor, memory: Memory, caches: list[LayerCache] | None = None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Logits (N, S, V) of the token behind each, in at least float32, and what is kept.

        ``ids_NS`` are tokens behind those of ``caches``; a transcript begins with `BOUNDARY_ID`.
        Transcripts of an utterance stand side by side, as many of each.
        """
        first = caches[0][0].shape[2] if caches else 0
        x_NSD = self.embedding(ids_NS) * math.sqrt(self.embedding.embedding_dim)
        x_NSD = self.dropout(x_NSD + sinusoids(first, x_NSD))
        kept: list[LayerCache] = []
        for index, layer in enumerate(self.layers):
            x_NSD, cache = layer(x_NSD, memory, index, caches[index] if caches else None)
            kept.append(cache)
        logits_NSV = self.output(self.norm(x_NSD))
        return logits_NSV if logits_NSV.dtype == torch.float64 else logits_NSV.float(), kept


def sinusoids(first: int, x_NSD: Tensor) -> Tensor:
    """(S, D) positions from ``first`` on (Vaswani et al. 2017, section 3.5), as ``x_NSD``."""
    _, num_positions, width = x_NSD.shape
    device = x_NSD.device
    positions_S1 = torch.arange(first, first + num_positions, device=device).unsqueeze(1)
    rates_D = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles_SD = positions_S1 * rates_D
    both = torch.stack([angles_SD.sin(), angles_SD.cos()], -1).flatten(1)[:, :width]
    return both.to(x_NSD.dtype)
