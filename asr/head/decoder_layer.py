"""A layer of the attention decoder: self-attention, cross-attention to frames, feed-forward.

In inference cross-attention can be EL-attention (Yan et al. 2021): the key projection is applied to
the queries, and the value projection to the weighted sum, so all heads and layers use the frames
themselves as keys and values. The result is the same up to rounding.

Shape legend: B utterances, N = B * G transcripts, S new tokens, U tokens so far, T frames or other
key positions, D width, H heads, K head width, R query rows (G * S in cross-attention).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.head.hard_retrieval import retrieve_best, retrieve_drawn
from asr.nn.attention import OutputOnly, ValueMix, merge_heads, split_heads
from asr.nn.dropout import Dropout
from asr.nn.feedforward import FeedForward
from asr.reuse.schedule import Role

LayerCache = tuple[Tensor, ...]
"""Keys and values (N, H, U, K) of one layer; a follower has values of tokens only."""

AttentionKind = Literal["soft", "hard"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Frames (B, T, D) for cross-attention, zero where ``is_valid_BT`` is False.

    ``layers`` holds the keys and values (B, H, T, K) of every layer; it is empty with EL-attention.
    """

    frames_BTD: Tensor
    is_valid_BT: Tensor
    layers: tuple[LayerCache, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes held for all decoding steps."""
        kept = [one for pair in self.layers for one in pair] or [self.frames_BTD]
        return sum(one.numel() * one.element_size() for one in kept)


@dataclass(frozen=True, slots=True)
class Carry:
    """A leader's map over tokens (N, H, S, U) and context of the frames, for its followers.

    The context is None without cross-attention.
    """

    map_NHSU: Tensor
    context_BHRK: Tensor | None


class Queries(nn.Module):
    """Multi-head attention with query and output projection; keys and values are arguments."""

    def __init__(
        self, *, d_model: int, num_heads: int, dropout: float, kind: AttentionKind = "soft"
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (d_model // num_heads) ** -0.5
        self.query = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.rate = dropout
        self.kind = kind

    def context(self, x_BRD: Tensor, keys_values: LayerCache, visible: Tensor) -> Tensor:
        """Return the context (B, H, R, K) over the keys where ``visible`` (broadcast) is True."""
        keys_BHTK, values_BHTK = keys_values
        q_BHRK = split_heads(self.query(x_BRD), self.num_heads)
        if self.kind == "hard":
            scores_BHRT = q_BHRK @ keys_BHTK.transpose(2, 3) * self.scale
            return self.retrieve(scores_BHRT.masked_fill(~visible, float("-inf")), values_BHTK)
        return functional.scaled_dot_product_attention(
            q_BHRK,
            keys_BHTK,
            values_BHTK,
            attn_mask=visible,
            dropout_p=self.rate if self.training else 0.0,
        )

    def map(self, x_BRD: Tensor, keys_BHTK: Tensor, visible: Tensor) -> Tensor:
        """Return the attention map (B, H, R, T), before dropout."""
        q_BHRK = split_heads(self.query(x_BRD), self.num_heads)
        scores_BHRT: Tensor = q_BHRK @ keys_BHTK.transpose(2, 3) * self.scale
        return scores_BHRT.masked_fill(~visible, float("-inf")).softmax(-1)

    def mix(self, map_BHRT: Tensor, values_BHTK: Tensor) -> Tensor:
        """Return the context (B, H, R, K): values weighted by the map, with dropout."""
        return functional.dropout(map_BHRT, self.rate, self.training) @ values_BHTK

    def retrieve(self, scores_BHRT: Tensor, values_BHTK: Tensor) -> Tensor:
        """Return the value (B, H, R, K) at one position per row, which is sampled in training."""
        if self.training:
            return retrieve_drawn(scores_BHRT.softmax(-1), values_BHTK)
        return retrieve_best(scores_BHRT, values_BHTK)

    def merge(self, context_BHRK: Tensor) -> Tensor:
        """Project the context of all heads to the output (B, R, D)."""
        output_BRD: Tensor = self.output(merge_heads(context_BHRK))
        return output_BRD


class Attention(Queries):
    """Multi-head attention with all projections, for self-attention or cross-attention."""

    def __init__(
        self, *, d_model: int, num_heads: int, dropout: float, kind: AttentionKind = "soft"
    ) -> None:
        super().__init__(d_model=d_model, num_heads=num_heads, dropout=dropout, kind=kind)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)

    def keys_values(self, x_BTD: Tensor) -> LayerCache:
        """Project to keys and values (B, H, T, K)."""
        return (
            split_heads(self.key(x_BTD), self.num_heads),
            split_heads(self.value(x_BTD), self.num_heads),
        )

    def context_by_frames(self, x_BRD: Tensor, frames_BTD: Tensor, visible: Tensor) -> Tensor:
        """Return `context` by EL-attention, with the frames as keys and values of all heads."""
        heads, (batch, rows, width) = self.num_heads, x_BRD.shape
        q_BHRK = split_heads(self.query(x_BRD), heads) * self.scale
        expanded_BHRD = q_BHRK @ self.key.weight.view(heads, -1, width)
        bias_BHR1 = q_BHRK @ self.key.bias.view(heads, -1, 1)
        scores_BXT = expanded_BHRD.flatten(1, 2) @ frames_BTD.transpose(1, 2)
        scores_BHRT = scores_BXT.view(batch, heads, rows, -1) + bias_BHR1
        scores_BHRT = scores_BHRT.masked_fill(~visible, float("-inf"))
        if self.kind == "hard":
            frames_BHTD = frames_BTD.unsqueeze(1).expand(-1, heads, -1, -1)
            context_BHRD = self.retrieve(scores_BHRT, frames_BHTD)
        else:
            context_BXD = scores_BHRT.softmax(-1).flatten(1, 2) @ frames_BTD
            context_BHRD = context_BXD.view(batch, heads, rows, width)
        context_BHRK = context_BHRD @ self.value.weight.view(heads, -1, width).transpose(1, 2)
        return context_BHRK + self.value.bias.view(heads, 1, -1)


class DecoderLayer(nn.Module):
    """Self-attention over earlier tokens, cross-attention to frames, feed-forward; pre-norm.

    A follower has only a value and an output projection for the tokens, and an output projection
    for the frames. With ``feedback`` the keys and values of the tokens are arguments. Layers of a
    language model have no ``cross_attention``.
    """

    def __init__(
        self,
        *,
        d_model: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        kind: AttentionKind,
        role: Role,
        feedback: bool,
        cross_attention: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "num_heads": num_heads}
        self.leads = role is Role.LEAD
        self.own_norm = nn.LayerNorm(d_model)
        self.own: Queries | ValueMix
        self.cross: Attention | OutputOnly | None = None
        if role is Role.FOLLOW:
            self.own = ValueMix(**sizes, head_dim=d_model // num_heads, dropout=dropout)
            self.cross = OutputOnly(d_model=d_model) if cross_attention else None
        else:
            own = Queries if feedback else Attention
            self.own = own(**sizes, dropout=dropout, kind=kind)
            if cross_attention:
                self.cross_norm = nn.LayerNorm(d_model)
                self.cross = Attention(**sizes, dropout=dropout, kind=kind)
        self.feedforward = FeedForward(d_model=d_model, ffn_dim=ffn_dim, dropout=dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x_NSD: Tensor,
        memory: Memory | None,
        layer: int,
        cache: LayerCache,
        carry: Carry | None = None,
        hidden_NU: Tensor | None = None,
    ) -> tuple[Tensor, LayerCache, Carry | None]:
        """Return the output (N, S, D), the cache with the new tokens, and the carry.

        ``cache`` is empty before the first token. ``hidden_NU`` is True at positions of the cache
        that hold no token.
        """
        normed_NSD = self.own_norm(x_NSD)
        if isinstance(self.own, ValueMix):
            assert carry is not None
            values_NHSK = split_heads(self.own.value(normed_NSD), self.own.num_heads)
            kept = append_to_cache(cache, (values_NHSK,))
            own_NHSK, map_NHSU = self.own.mix(carry.map_NHSU, kept[0]), carry.map_NHSU
        else:
            kept = cache
            if isinstance(self.own, Attention):
                kept = append_to_cache(cache, self.own.keys_values(normed_NSD))
            num_new, num_all = x_NSD.shape[1], kept[0].shape[2] if kept else 0
            causal_SU = torch.ones(num_new, num_all, dtype=torch.bool, device=x_NSD.device)
            visible = causal_SU.tril(num_all - num_new)
            if hidden_NU is not None:
                visible = visible & ~hidden_NU[:, None, None]
            if self.leads:
                map_NHSU = self.own.map(normed_NSD, kept[0], visible)
                own_NHSK = self.own.mix(map_NHSU, kept[1])
            elif kept:
                own_NHSK = self.own.context(normed_NSD, kept, visible)
        if kept:
            x_NSD = x_NSD + self.dropout(self.own.merge(own_NHSK))
        context_BHRK = None
        if self.cross is not None:
            assert memory is not None
            context_BHRK = self._frame_context(x_NSD, memory, layer, carry)
            x_NSD = x_NSD + self.dropout(self.cross.merge(context_BHRK).view_as(x_NSD))
        if self.leads:
            carry = Carry(map_NHSU, context_BHRK)
        return x_NSD + self.feedforward(x_NSD), kept, carry

    def _frame_context(
        self, x_NSD: Tensor, memory: Memory, layer: int, carry: Carry | None
    ) -> Tensor:
        """Return the context (B, H, R, K) of the frames; a follower takes its leader's."""
        if not isinstance(self.cross, Attention):
            assert carry is not None
            assert carry.context_BHRK is not None
            return carry.context_BHRK
        rows_BRD = self.cross_norm(x_NSD).reshape(len(memory.frames_BTD), -1, x_NSD.shape[2])
        visible_B11T = memory.is_valid_BT[:, None, None]
        if memory.layers:
            return self.cross.context(rows_BRD, memory.layers[layer], visible_B11T)
        return self.cross.context_by_frames(rows_BRD, memory.frames_BTD, visible_B11T)


def append_to_cache(cache: LayerCache, new: LayerCache) -> LayerCache:
    """Append the keys and values of new tokens to those of earlier ones."""
    if not cache:
        return new
    return tuple(torch.cat(pair, 2) for pair in zip(cache, new, strict=True))
