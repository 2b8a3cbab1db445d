"""CTC head (Graves et al. 2006), with intermediate CTC (Lee and Watanabe 2021) and consistency
regularisation (CR-CTC, Yao et al. 2024).

Shape legend: B batch, T frames, D model width, V vocabulary, U tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import InputError
from asr.head.base import FRAMES_AT_ONCE, Head, HeadLoss, dtype_of
from asr.ranges import MAX_VOCABULARY, Range, Share, Width, in_ranges
from asr.types import EncoderOutput

BLANK_ID = 0
LossShare = Annotated[float, Range(0, 1, below=True)]


@in_ranges("head")
class CtcHead(Head):
    """A linear projection to the vocabulary, with blank at id 0.

    In training the outputs of ``intermediate_layers`` (counted from 0, rising) go through the same
    projection. ``intermediate_weight`` is their share of the loss: one number, split evenly, or one
    number for each; the last layer has the rest. With all layers and shares that grow with depth,
    this is the aligned objective of Jiang et al. 2024 for models with an exit after each layer.

    With ``consistency_weight`` the encoder gets two copies of every utterance with different masks
    (`num_copies`). `loss` then adds a term to the mean CTC loss of both (Yao et al. 2024, CR-CTC,
    equation 4): the weight times half of KL(sg(b) || a) + KL(sg(a) || b), where a and b are the
    output distributions of the copies and sg stops the gradient. The divergence is summed over the
    frames of an utterance.

    Raises:
        InputError: a weight is outside [0, 1) or has no layers; layers are out of order; the number
            of weights differs from the number of layers; or weights add up to 1 or more.
    """

    name = "ctc"
    leaves_out_short = True
    tensors_by_piece = ("project.weight", "project.bias")
    output_layers: ClassVar[Mapping[str, int]] = {"project": FRAMES_AT_ONCE}

    def __init__(
        self,
        *,
        d_model: Width,
        vocab_size: Annotated[int, Range(1, MAX_VOCABULARY)],
        dropout: Share = 0.0,
        intermediate_layers: Sequence[int] = (),
        intermediate_weight: LossShare | Sequence[LossShare] = 0.0,
        consistency_weight: Annotated[float, Range(0, 1000)] = 0.0,
    ) -> None:
        super().__init__()
        if bool(intermediate_layers) != bool(intermediate_weight):
            raise InputError(
                f"head.intermediate_layers={list(intermediate_layers)} and "
                f"head.intermediate_weight={intermediate_weight}: give both or neither"
            )
        if list(intermediate_layers) != sorted(set(intermediate_layers)):
            raise InputError(
                f"head.intermediate_layers={list(intermediate_layers)}: allowed: each layer once, "
                "the lowest first"
            )
        self.vocab_size = vocab_size
        self.intermediate_layers = tuple(intermediate_layers)
        self.intermediate_weights = _weights(intermediate_weight, len(intermediate_layers))
        self.consistency_weight = consistency_weight
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(d_model, vocab_size)

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """Compute log probabilities (B, T, V), in float32 at any precision of the encoder."""
        frames_BTD = self.dropout(frames_BTD.to(dtype_of(self.project)))
        logits_BTV: Tensor = self.project(frames_BTD)
        return logits_BTV.float().log_softmax(-1)

    def loss(
        self,
        encoded: EncoderOutput,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        log_probs_BTV: Tensor | None = None,
    ) -> HeadLoss:
        """Average the negative log likelihood over the utterances that have an alignment.

        An utterance with fewer frames than its tokens need (one each, and a blank between equal
        neighbours) has no alignment; it is left out and counted. ``log_probs_BTV`` is the output
        of `forward` for ``encoded``, if it was computed before.

        If ``encoded`` holds twice as many utterances as there are transcripts, its second half
        holds the copies of the first, in the same order.
        """
        num_copies = len(encoded.lengths_B) // len(token_lengths_B)
        token_ids_BU = token_ids_BU.repeat(num_copies, 1)
        token_lengths_B = token_lengths_B.repeat(num_copies)
        target = token_ids_BU, token_lengths_B
        fits_B = encoded.lengths_B >= frames_needed(*target)
        kept = int(fits_B.sum())
        num_left_out = (len(fits_B) - kept) // num_copies
        if not kept:
            return HeadLoss(self(encoded.frames_BTD).sum() * 0.0, num_left_out)
        if log_probs_BTV is None:
            log_probs_BTV = self(encoded.frames_BTD)
        loss = _mean_loss(log_probs_BTV, encoded.lengths_B, *target, fits_B)
        if encoded.intermediate:
            shares = self.intermediate_weights
            inner = [
                share * _mean_loss(self(frames_BTD), lengths_B, *target, fits_B)
                for share, (frames_BTD, lengths_B) in zip(shares, encoded.intermediate, strict=True)
            ]
            loss = (1 - sum(shares)) * loss + torch.stack(inner).sum()
        if num_copies > 1:
            inconsistency_B = inconsistency(log_probs_BTV, encoded.lengths_B)
            kept_B = fits_B[: len(inconsistency_B)]
            loss = loss + self.consistency_weight * inconsistency_B[kept_B].mean()
        return HeadLoss(loss, num_left_out)

    def utterance_losses(
        self,
        outputs_BTX: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
    ) -> Tensor:
        """Compute (B,) negative log likelihoods; ``outputs_BTX`` are log probabilities."""
        return utterance_losses(outputs_BTX, lengths_B, token_ids_BU, token_lengths_B)

    def frame_log_probs(self, frames_BTD: Tensor) -> Tensor:
        """Compute log probabilities (B, T, V), the same as `forward`."""
        log_probs_BTV: Tensor = self(frames_BTD)
        return log_probs_BTV


def _weights(weight: float | Sequence[float], num_layers: int) -> tuple[float, ...]:
    """Return each intermediate layer's share of the loss.

    Raises:
        InputError: see `CtcHead`.
    """
    if not isinstance(weight, Sequence):
        return (weight / num_layers,) * num_layers if num_layers else ()
    if len(weight) != num_layers or sum(weight) >= 1:
        raise InputError(
            f"head.intermediate_weight={list(weight)}: allowed: a number, or one for each of the "
            f"{num_layers} head.intermediate_layers, together below 1"
        )
    return tuple(weight)


def _mean_loss(
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    token_ids_BU: Tensor,
    token_lengths_B: Tensor,
    fits_B: Tensor,
) -> Tensor:
    # zero_infinity keeps the gradients of utterances left out at zero.
    losses_B = utterance_losses(
        log_probs_BTV, lengths_B, token_ids_BU, token_lengths_B, zero_infinity=True
    )
    return losses_B[fits_B].mean()


def inconsistency(log_probs_BTV: Tensor, lengths_B: Tensor) -> Tensor:
    """Compute the symmetric divergence (B / 2,) of a batch's halves, in nats.

    It is half the sum of both KL divergences over valid frames; each has a gradient for one side
    only.
    """
    one_BTV, other_BTV = log_probs_BTV.chunk(2)
    divergence_BT = 0.5 * (
        functional.kl_div(one_BTV, other_BTV.detach(), reduction="none", log_target=True)
        + functional.kl_div(other_BTV, one_BTV.detach(), reduction="none", log_target=True)
    ).sum(-1)
    lengths_B = lengths_B[: len(one_BTV)]
    frames_T = torch.arange(divergence_BT.shape[1], device=lengths_B.device)
    return divergence_BT.masked_fill(frames_T >= lengths_B[:, None], 0.0).sum(1)


def utterance_losses(
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    token_ids_BU: Tensor,
    token_lengths_B: Tensor,
    *,
    zero_infinity: bool = False,
) -> Tensor:
    """Compute (B,) negative log likelihoods, infinite for utterances without an alignment.

    With ``zero_infinity`` these utterances get a loss and a gradient of zero.
    """
    losses_B: Tensor = functional.ctc_loss(
        log_probs_BTV.transpose(0, 1),
        token_ids_BU,
        lengths_B,
        token_lengths_B,
        blank=BLANK_ID,
        reduction="none",
        zero_infinity=zero_infinity,
    )
    return losses_B


def frames_needed(token_ids_BU: Tensor, token_lengths_B: Tensor) -> Tensor:
    """Return (B,) the fewest frames that CTC needs: tokens plus pairs of equal neighbours."""
    position_U = torch.arange(token_ids_BU.shape[1], device=token_ids_BU.device)[1:]
    repeated_BU = token_ids_BU[:, 1:] == token_ids_BU[:, :-1]
    inside_BU = position_U < token_lengths_B.unsqueeze(1)
    return token_lengths_B + (repeated_BU & inside_BU).sum(1)
