"""Transformer attention decoder (Vaswani et al. 2017): the next token by earlier ones and frames.

It runs over whole transcripts in training and in rescoring, and token by token in a search, where
keys and values of earlier tokens are kept. Several transcripts of an utterance (the hypotheses of
a beam) attend to one copy of its frames: to cross-attention they are more rows of queries.

Groups of layers may share attention (Xiao et al. 2019): a follower takes its leader's map over the
tokens, for values of its own, and its leader's context of the frames. It has no query or key, and
for the frames no value either. With ``feedback`` (Fan et al. 2020) all layers attend to one memory
of earlier tokens: a learnt mean over the outputs of all layers, whose keys and values are computed
once. It makes training go token by token.

Shape legend: B utterances, N transcripts, as many of each utterance, S new tokens, T frames,
D width, K head width, H heads, L layers, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.decoder_layer import (
    Attention,
    AttentionKind,
    DecoderLayer,
    LayerCache,
    Memory,
    joined,
)
from asr.nn.attention import split_heads
from asr.nn.dropout import Dropout
from asr.reuse.schedule import schedule_from_groups

BOUNDARY_ID = 0
"""Start and end of a transcript: the blank of CTC, which the decoder never writes otherwise."""


class AttentionDecoder(nn.Module):
    """Embedding with sinusoidal positions, layers, a norm, and logits of the next token.

    Raises:
        InputError: ``num_heads`` does not divide ``d_model``; ``groups`` that do not add up to
            ``num_layers``; or options that exclude each other.
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
        groups: Sequence[int] = (),
        kind: AttentionKind = "soft",
        feedback: bool = False,
        hears: bool = True,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise InputError(f"head.num_heads={num_heads} does not divide the width {d_model}")
        if groups and (feedback or kind == "hard"):
            other = "head.feedback=true" if feedback else "head.attention=hard"
            raise InputError(f"head.groups={[*groups]} and {other}: give one of them")
        try:
            roles = schedule_from_groups(groups or [1] * num_layers, num_layers)
        except InputError as error:
            raise error.moved("reuse", "head").moved("encoder", "head") from None
        self.num_heads = num_heads
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(
                d_model=d_model,
                num_heads=num_heads,
                ffn_dim=ffn_dim,
                dropout=dropout,
                kind=kind,
                role=role.role,
                feedback=feedback,
                hears=hears,
            )
            for role in roles
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)
        self.feedback = Feedback(d_model, num_heads, num_layers) if feedback else None

    def memory(self, frames_BTD: Tensor, lengths_B: Tensor, *, by_frames: bool = False) -> Memory:
        """What transcripts attend to; with ``by_frames`` they do by EL-attention.

        An utterance without a frame attends to one frame of zeros.
        """
        frames_BTD = frames_BTD.to(self.embedding.weight.dtype)
        frames_T = torch.arange(frames_BTD.shape[1], device=frames_BTD.device)
        lengths_B1 = lengths_B.to(frames_BTD.device).unsqueeze(1)
        frames_BTD = frames_BTD.masked_fill((frames_T >= lengths_B1).unsqueeze(-1), 0.0)
        layers: list[LayerCache] = []
        for layer in () if by_frames else self.layers:
            assert isinstance(layer, DecoderLayer)
            cross = layer.cross
            layers.append(cross.keys_values(frames_BTD) if isinstance(cross, Attention) else ())
        return Memory(frames_BTD, frames_T < lengths_B1.clamp(min=1), tuple(layers))

    def forward(
        self,
        ids_NS: Tensor,
        memory: Memory | None,
        caches: list[LayerCache] | None = None,
        num_kept_N: Tensor | None = None,
    ) -> tuple[Tensor, list[LayerCache]]:
        """Logits (N, S, V) of the token behind each, in at least float32, and what is kept.

        The arguments are those of `hidden`.
        """
        hidden_NSD, kept = self.hidden(ids_NS, memory, caches, num_kept_N)
        logits_NSV = self.output(hidden_NSD)
        return logits_NSV if logits_NSV.dtype == torch.float64 else logits_NSV.float(), kept

    def hidden(
        self,
        ids_NS: Tensor,
        memory: Memory | None,
        caches: list[LayerCache] | None = None,
        num_kept_N: Tensor | None = None,
    ) -> tuple[Tensor, list[LayerCache]]:
        """What the output layer reads (N, S, D), and what is kept.

        ``ids_NS`` are tokens behind those of ``caches``; a transcript begins with `BOUNDARY_ID`.
        Transcripts of an utterance stand side by side, as many of each. ``num_kept_N`` is how many
        tokens each row of ``caches`` holds, at its end; None: all of them.
        """
        longest = caches[0][0].shape[2] if caches else 0
        caches = caches or [() for _ in self.layers]
        x_NSD = self.embedding(ids_NS) * math.sqrt(self.embedding.embedding_dim)
        hidden_NU = None
        if num_kept_N is None:
            x_NSD = x_NSD + position_sinusoids(longest, x_NSD)
        else:
            x_NSD = x_NSD + position_sinusoids(num_kept_N, x_NSD)
            places_U = torch.arange(longest + ids_NS.shape[1], device=ids_NS.device)
            hidden_NU = places_U < longest - num_kept_N.unsqueeze(1)
        x_NSD = self.dropout(x_NSD)
        if self.feedback is None:
            carry, kept = None, []
            for index, layer in enumerate(self.layers):
                x_NSD, cache, carry = layer(x_NSD, memory, index, caches[index], carry, hidden_NU)
                kept.append(cache)
        else:
            assert hidden_NU is None, "feedback memory has rows of one length"
            x_NSD, kept = self._with_feedback(self.feedback, x_NSD, memory, caches[0])
        return self.norm(x_NSD), kept

    def _with_feedback(
        self, feedback: Feedback, x_NSD: Tensor, memory: Memory | None, cache: LayerCache
    ) -> tuple[Tensor, list[LayerCache]]:
        """Output (N, S, D), token by token, and the keys and values of all layers."""
        outputs = []
        for x_N1D in torch.split(x_NSD, 1, 1):
            states = [x_N1D]
            for index, layer in enumerate(self.layers):
                x_N1D, _, _ = layer(x_N1D, memory, index, cache)
                states.append(x_N1D)
            cache = joined(cache, feedback(states))
            outputs.append(x_N1D)
        return torch.cat(outputs, 1), [cache]


class Feedback(nn.Module):
    """Keys and values of a token for all layers, by a learnt mean of what it became in each."""

    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weights_L = nn.Parameter(torch.zeros(num_layers + 1))
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)

    def forward(self, states: Sequence[Tensor]) -> LayerCache:
        """Keys and values (N, H, 1, K) of the embedding and all layers' outputs (N, 1, D)."""
        mixed_N1D = torch.einsum("l,lnsd->nsd", self.weights_L.softmax(0), torch.stack([*states]))
        return (
            split_heads(self.key(mixed_N1D), self.num_heads),
            split_heads(self.value(mixed_N1D), self.num_heads),
        )


def position_sinusoids(first: int | Tensor, x_NSD: Tensor) -> Tensor:
    """(S, D) positions from ``first`` on (Vaswani et al. 2017, section 3.5), as ``x_NSD``.

    (N, S, D) where ``first`` (N,) is a position for each row.
    """
    _, num_positions, width = x_NSD.shape
    device = x_NSD.device
    positions_S = torch.arange(num_positions, device=device)
    first = first.unsqueeze(1) if isinstance(first, Tensor) else first
    rates_D = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles_SD = (positions_S + first).unsqueeze(-1) * rates_D
    both = torch.stack([angles_SD.sin(), angles_SD.cos()], -1).flatten(-2)[..., :width]
    return both.to(x_NSD.dtype)
