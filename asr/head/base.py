"""What a head is: from encoder frames to a loss in training and to scores for a search.

`CtcHead`, `TransducerHead` and `HybridHead` are heads. The rest of the toolkit asks a head for what
this class names and never which head it is; a command that a head cannot serve gets the reason from
it.

Shape legend: B batch, T frames, D model width, V vocabulary, U tokens, X what the search reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.types import Batch, EncoderOutput

FRAMES_AT_ONCE, BEAM_AT_ONCE = 375, 10
"""Hidden states that an output layer gets at once: of 15 s of audio at 25 Hz, and of a beam."""


class HeadLoss(NamedTuple):
    """Mean loss of the utterances that fit (fp32 scalar), and how many were left out."""

    loss: Tensor
    num_left_out: int


class Head(nn.Module, ABC):
    """A head behind an encoder of width D.

    ``name`` is what a search states to say which head it reads (`asr.decode.search`).
    ``leaves_out_short`` says that an utterance with fewer frames than CTC needs for its tokens is
    left out of the loss. ``intermediate_layers`` are the encoder layers, from 0, whose output the
    loss takes as well. ``tensors_by_piece`` are the weights with a row for every piece of the
    vocabulary. ``output_layers`` are the linear layers that score every piece in inference, which
    `asr.nn.svd_softmax` can decompose, each with how many hidden states it is usually given at
    once.
    """

    @property
    def num_copies(self) -> int:
        """How often every utterance is encoded in training, each time under other masks."""
        return 2 if self.consistency_weight else 1

    name: ClassVar[str]
    leaves_out_short: ClassVar[bool]
    tensors_by_piece: ClassVar[tuple[str, ...]]
    output_layers: ClassVar[Mapping[str, int]] = {}
    vocab_size: int
    intermediate_layers: tuple[int, ...] = ()
    consistency_weight: float = 0.0

    @abstractmethod
    def forward(self, frames_BTD: Tensor) -> Tensor:
        """What the search reads of every frame: (B, T, X), float32."""

    @abstractmethod
    def loss(
        self,
        encoded: EncoderOutput,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        log_probs_BTV: Tensor | None = None,
    ) -> HeadLoss:
        """The training loss; ``log_probs_BTV`` is what `frame_log_probs` gave, where at hand."""

    @abstractmethod
    def utterance_losses(
        self,
        outputs_BTX: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
    ) -> Tensor:
        """(B,) negative log likelihoods by what `forward` gave; infinite without an alignment."""

    @abstractmethod
    def frame_log_probs(self, frames_BTD: Tensor) -> Tensor:
        """CTC log probabilities (B, T, V) of every frame, for alignment and distillation.

        Only of a head that refuses none of the uses that need them, see `check_serves`.
        """

    @property
    def refused(self) -> Mapping[str, str]:
        """Uses that this head cannot serve (``asr export``, ...), each with the reason."""
        return {}

    def check_serves(self, use: str) -> None:
        """Raise InputError, with the reason, where the head cannot serve ``use``."""
        reason = self.refused.get(use)
        if reason is not None:
            raise InputError(f"{use} does not serve a model with a {self.name} head: {reason}")

    def describe_loss(self, num_frames: int, batch: Batch) -> str | None:
        """The size of the loss of ``batch`` on ``num_frames`` frames, where it is worth saying.

        Raises:
            InputError: an utterance of it is more than the head may take.
        """
        return None


def dtype_of(layer: nn.Module) -> torch.dtype:
    """The dtype of the weights of an output layer, decomposed or not."""
    return next(layer.parameters()).dtype
