"""Transformer attention decoder (Vaswani et al. 2017): predicts the next token of a transcript.

It runs over whole transcripts in training and rescoring. In a search it runs token by token and
caches the keys and values of earlier tokens. All hypotheses of an utterance attend to one copy of
its frames: for cross-attention they are additional query rows.

Groups of layers can share attention (Xiao et al. 2019). A follower applies its leader's map over
the tokens to its own values, and reuses its leader's context of the frames. It has no queries and
keys, and no values of the frames. With ``feedback`` (Fan et al. 2020) all layers attend to one
memory of earlier tokens: a learnt mean over the outputs of all layers, with keys and values
computed once. Training then runs token by token.

Shape legend: B utterances, N = B * G transcripts, S new tokens, T frames, D width, K head width,
H heads, L layers, V vocabulary.
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
    append_to_cache,
)
from asr.nn.attention import split_heads
from asr.nn.dropout import Dropout
from asr.reuse.schedule import schedule_from_groups

BOUNDARY_ID = 0
"""Start and end of a transcript. It is CTC's blank, which no transcript contains."""


class AttentionDecoder(nn.Module):
    """An embedding with sinusoidal positions, decoder layers, a norm and an output layer.

    Raises:
        InputError: ``num_heads`` does not divide ``d_model``; ``groups`` do not add up to
            ``num_layers``; or options exclude each other.
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
        cross_attention: bool = True,
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
                cross_attention=cross_attention,
            )
            for role in roles
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)
        self.feedback = Feedback(d_model, num_heads, num_layers) if feedback else None

    def memory(self, frames_BTD: Tensor, lengths_B: Tensor, *, by_frames: bool = False) -> Memory:
        """Prepare the frames for cross-attention; with ``by_frames`` for EL-attention.

        An utterance without frames gets one frame of zeros.
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
        """Return logits (N, S, V) of each next token, in at least float32, and the new caches.

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
        """Return the input of the output layer (N, S, D), and the new caches.

        ``ids_NS`` are the tokens after those in ``caches``; a transcript begins with `BOUNDARY_ID`.
        Each utterance has the same number of transcripts, in adjacent rows. ``num_kept_N`` is the
        number of cached tokens of each row, aligned right; None: every row is full.
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
            assert hidden_NU is None, "feedback memory needs rows of equal length"
            x_NSD, kept = self._with_feedback(self.feedback, x_NSD, memory, caches[0])
        return self.norm(x_NSD), kept

    def _with_feedback(
        self, feedback: Feedback, x_NSD: Tensor, memory: Memory | None, cache: LayerCache
    ) -> tuple[Tensor, list[LayerCache]]:
        """Run token by token; return the output (N, S, D) and the shared keys and values."""
        outputs = []
        for x_N1D in torch.split(x_NSD, 1, 1):
            states = [x_N1D]
            for index, layer in enumerate(self.layers):
                x_N1D, _, _ = layer(x_N1D, memory, index, cache)
                states.append(x_N1D)
            cache = append_to_cache(cache, feedback(states))
            outputs.append(x_N1D)
        return torch.cat(outputs, 1), [cache]


class Feedback(nn.Module):
    """Keys and values of a token for all layers, from a learnt mean over the layers' outputs."""

    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weights_L = nn.Parameter(torch.zeros(num_layers + 1))
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)

    def forward(self, states: Sequence[Tensor]) -> LayerCache:
        """Return keys and values (N, H, 1, K); ``states``: embedding, layers' outputs (N, 1, D)."""
        mixed_N1D = torch.einsum("l,lnsd->nsd", self.weights_L.softmax(0), torch.stack([*states]))
        return (
            split_heads(self.key(mixed_N1D), self.num_heads),
            split_heads(self.value(mixed_N1D), self.num_heads),
        )


def position_sinusoids(first: int | Tensor, x_NSD: Tensor) -> Tensor:
    """Return position encodings (S, D) from ``first`` on (Vaswani et al. 2017, section 3.5).

    With a first position for each row, ``first`` (N,), they are (N, S, D). Device, dtype and S are
    those of ``x_NSD``.
    """
    _, num_positions, width = x_NSD.shape
    device = x_NSD.device
    positions_S = torch.arange(num_positions, device=device)
    first = first.unsqueeze(1) if isinstance(first, Tensor) else first
    rates_D = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles_SD = (positions_S + first).unsqueeze(-1) * rates_D
    both = torch.stack([angles_SD.sin(), angles_SD.cos()], -1).flatten(-2)[..., :width]
    return both.to(x_NSD.dtype)
