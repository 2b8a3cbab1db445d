"""The interface of a head, which turns encoder frames into a training loss and into search scores.

`CtcHead`, `TransducerHead` and `HybridHead` implement it. Other packages use a head only through
this class and never test which head it is. If a head cannot serve a command, it gives the reason.

Shape legend: B batch, T frames, D model width, V vocabulary, U tokens, X outputs per frame.
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
"""Hidden states per call of an output layer: 15 s of audio at 25 Hz, and a beam."""


class HeadLoss(NamedTuple):
    """Mean loss (fp32 scalar) over the utterances that have one, and the number left out."""

    loss: Tensor
    num_left_out: int


class Head(nn.Module, ABC):
    """A head after an encoder of width D.

    Attributes:
        name: kind of head; a search names the kind it decodes (`asr.decode.search`).
        leaves_out_short: the loss leaves out an utterance with fewer frames than CTC needs.
        tensors_by_piece: names of the weights that have one row per piece of the vocabulary.
        output_layers: names of the linear layers that score every piece in inference, each with
            its usual number of hidden states per call. `asr.nn.svd_softmax` can decompose them.
        intermediate_layers: encoder layers, from 0, whose outputs enter the loss too.
        consistency_weight: weight of the consistency loss between two copies; 0: one copy.
    """

    @property
    def num_copies(self) -> int:
        """Number of copies of each utterance in training, each with its own masks."""
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
        """Compute the per-frame output (B, T, X) that a search reads, in float32."""

    @abstractmethod
    def loss(
        self,
        encoded: EncoderOutput,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        log_probs_BTV: Tensor | None = None,
    ) -> HeadLoss:
        """Compute the training loss; ``log_probs_BTV``: `frame_log_probs`, if computed before."""

    @abstractmethod
    def utterance_losses(
        self,
        outputs_BTX: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
    ) -> Tensor:
        """Compute (B,) negative log likelihoods from outputs of `forward`; inf if unalignable."""

    @abstractmethod
    def frame_log_probs(self, frames_BTD: Tensor) -> Tensor:
        """Compute CTC log probabilities (B, T, V), for alignment and distillation.

        Call `check_serves` first: a head without a CTC output refuses these uses.
        """

    @property
    def refused(self) -> Mapping[str, str]:
        """Uses that this head cannot serve (``asr export``, ...), with the reasons."""
        return {}

    def check_serves(self, use: str) -> None:
        """Raise InputError with the reason if the head cannot serve ``use``."""
        reason = self.refused.get(use)
        if reason is not None:
            raise InputError(f"{use} does not serve a model with a {self.name} head: {reason}")

    def describe_loss(self, num_frames: int, batch: Batch) -> str | None:
        """Describe the memory of the loss of ``batch`` on ``num_frames`` frames; None if small.

        Raises:
            InputError: one utterance of the batch exceeds the head's limit.
        """
        return None


def dtype_of(layer: nn.Module) -> torch.dtype:
    """Return the dtype of an output layer's weights, decomposed or not."""
    return next(layer.parameters()).dtype
