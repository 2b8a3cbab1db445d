"""Exits by confidence: each utterance uses as many layers as it needs.

After each exit the head, shared by all exits, gives probabilities; an utterance leaves if they are
certain enough. Certainty is measured by the entropy of a frame, averaged over the utterance
(HuBERT-EE, Yoon et al. 2022; Wright et al. 2023 train a recogniser with exits from scratch).

Shape legend: B batch, T frames, F mel bins, D model width, V vocabulary, R rows of the batch that
have not left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from asr.encoder.stack import Encoder, Passage
from asr.errors import InputError
from asr.head.base import Head
from asr.nn.frames import Frames, padding_mask
from asr.ranges import Entropy, check_value


class ConfidentExit:
    """Encoder and head in inference; an utterance leaves at its first exit of low entropy.

    ``exits`` are numbers of layers, the last of which is all layers. ``entropy``, in nats per
    frame, is the highest at which an utterance leaves. Utterances that have left are not computed
    further, except after exits inside a group of reuse: they stay in the batch until the next exit
    outside a group. The head must give log probabilities, as every head trained after intermediate
    layers does.

    Raises:
        InputError: only one exit, exits with different frame rates, or an entropy out of range.
    """

    def __init__(self, encoder: Encoder, head: Head, exits: Sequence[int], entropy: float) -> None:
        check_value(entropy, Entropy, "exit_entropy")
        if len(exits) < 2:
            raise InputError(
                f"exit_entropy={entropy:g}: the {head.name} head of this model was trained only "
                f"after its last layer, {exits[-1]}; exits need head.intermediate_layers"
            )
        if len({encoder.pooling.below(exit).factor for exit in exits}) > 1:
            raise InputError(
                f"exit_entropy={entropy:g}: encoder.pool_after={list(encoder.pooling.after)} gives "
                "the exits of this model different frame rates; choose one of them by exit: "
                f"{', '.join(map(str, exits))}"
            )
        self.encoder = encoder
        self.head = head
        self.exits = tuple(exits)
        self.entropy = entropy
        self.num_frames: Counter[int] = Counter()
        self._counting = Lock()

    def __call__(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities (B, T, V) at each utterance's exit, and valid frames (B,)."""
        assert not self.encoder.training
        x_BTD, lengths_B, frames = self.encoder.prepare(features_BTF, lengths_B)
        lengths_B = self.encoder.pooling.num_frames(lengths_B)
        passage = Passage(x_BTD, frames)
        rows_R = torch.arange(len(lengths_B), device=lengths_B.device)
        exit_B = torch.zeros_like(lengths_B)
        results_BTV: Tensor | None = None
        below = 0
        for exit in self.exits:
            passage, _ = self.encoder.run_layers(range(below, exit), passage)
            below = exit
            log_probs_RTV = self.head(self.encoder.norm(passage.x_BTD))
            if results_BTV is None:
                results_BTV = torch.empty_like(log_probs_RTV)
            stays_R = exit_B[rows_R] == 0
            results_BTV[rows_R[stays_R]] = log_probs_RTV[stays_R]
            leaves_R = mean_entropy(log_probs_RTV, lengths_B[rows_R]) <= self.entropy
            leaves_R |= exit == self.exits[-1]
            exit_B[rows_R[stays_R & leaves_R]] = exit
            stays_R = exit_B[rows_R] == 0
            if not bool(stays_R.any()):
                break
            if not bool(stays_R.all()) and not self._is_inside_group(exit):
                rows_R, passage = rows_R[stays_R], _rows(passage, stays_R)
        assert results_BTV is not None
        with self._counting:
            for exit, length in zip(exit_B.tolist(), lengths_B.tolist(), strict=True):
                self.num_frames[exit] += length
        return results_BTV, lengths_B

    def _is_inside_group(self, exit: int) -> bool:
        later = self.encoder.schedule[exit:]
        return any(layer.leader is not None and layer.leader < exit for layer in later)

    @property
    def mean_layers(self) -> float:
        """Average number of layers per frame; 0 before the first call."""
        total = sum(exit * number for exit, number in self.num_frames.items())
        return total / max(1, self.num_frames.total())

    def __str__(self) -> str:
        total = max(1, self.num_frames.total())
        shares = (f"{exit}: {self.num_frames[exit] / total:.0%}" for exit in self.exits)
        return (
            f"exits at {self.entropy:g} nats: {self.mean_layers:.2f} of {self.exits[-1]} layers "
            f"on average of the audio ({', '.join(shares)})"
        )


def mean_entropy(log_probs_BTV: Tensor, lengths_B: Tensor) -> Tensor:
    """Return (B,): the entropy over the vocabulary in nats, averaged over valid frames."""
    entropy_BT = torch.special.entr(log_probs_BTV.exp()).sum(-1)
    mask_BT = padding_mask(lengths_B, entropy_BT.shape[1])
    if mask_BT is not None:
        entropy_BT = entropy_BT.masked_fill(mask_BT, 0.0)
    mean_B: Tensor = entropy_BT.sum(1) / lengths_B.clamp(min=1)
    return mean_B


def _rows(passage: Passage, stays_R: Tensor) -> Passage:
    """Return some utterances of a batch, before a layer that needs no carry.

    An utterance may have several rows, side by side (`asr.encoder.septr`).
    """
    stays_R = stays_R.repeat_interleave(len(passage.x_BTD) // len(stays_R))
    mask = passage.frames.padding_mask
    frames = Frames(None if mask is None else mask[stays_R], passage.frames.position_table)
    return Passage(passage.x_BTD[stays_R], frames)
