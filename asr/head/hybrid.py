"""CTC and a Transformer attention decoder on one encoder, trained together (Watanabe et al. 2017).

Shape legend: B batch, T frames, D model width, V vocabulary, U tokens, S = U + 1 tokens with an
end, X = V + D outputs per frame: CTC log probabilities, then the encoder frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.head.base import BEAM_AT_ONCE, FRAMES_AT_ONCE, Head, HeadLoss, dtype_of
from asr.head.ctc import utterance_losses
from asr.head.decoder import BOUNDARY_ID, AttentionDecoder
from asr.head.decoder_layer import AttentionKind
from asr.ranges import MAX_VOCABULARY, Layers, Range, Share, Width, in_ranges
from asr.types import EncoderOutput


@in_ranges("head")
class HybridHead(Head):
    """A CTC output and an attention decoder.

    Args:
        d_model: width D of the encoder, and of the decoder.
        vocab_size: tokens; id 0 is CTC's blank and the decoder's start and end.
        num_layers, num_heads, ffn_dim: sizes of the decoder.
        groups: sizes of groups of decoder layers that share attention, see `asr.head.decoder`;
            empty: every layer has its own attention.
        attention: the decoder's attention; ``hard`` attends to one position only, see
            `asr.head.hard_retrieval`.
        feedback: one memory of earlier tokens for all decoder layers; trains token by token.
        dropout: dropout of the frames before the CTC output, and in the decoder.
        ctc_weight: share of CTC in the loss. Both parts are summed over an utterance and averaged
            over the batch, as ESPnet does; the CTC loss of an utterance without an alignment is 0.
        label_smoothing: share of the target's probability spread evenly over all other tokens
            (Szegedy et al. 2016); the loss is the divergence from that target.

    Raises:
        InputError: a value is outside its range, heads do not divide the width, groups do not add
            up to the layers, or options exclude each other.
    """

    name = "hybrid"
    leaves_out_short = False
    tensors_by_piece = (
        *("ctc.weight", "ctc.bias", "decoder.embedding.weight"),
        *("decoder.output.weight", "decoder.output.bias"),
    )
    output_layers: ClassVar[Mapping[str, int]] = {
        "ctc": FRAMES_AT_ONCE,
        "decoder.output": BEAM_AT_ONCE,
    }

    def __init__(
        self,
        *,
        d_model: Width,
        vocab_size: Annotated[int, Range(2, MAX_VOCABULARY)],
        num_layers: Layers = 6,
        num_heads: Annotated[int, Range(1, 512)] = 4,
        ffn_dim: Width = 2048,
        groups: Sequence[Annotated[int, Range(1, 1000)]] = (),
        attention: AttentionKind = "soft",
        feedback: bool = False,
        dropout: Share = 0.1,
        ctc_weight: Annotated[float, Range(0, 1, above=True, below=True)] = 0.3,
        label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.ctc_weight = ctc_weight
        self.label_smoothing = label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.ctc = nn.Linear(d_model, vocab_size)
        self.decoder = AttentionDecoder(
            d_model=d_model,
            vocab_size=vocab_size,
            num_layers=num_layers,
            num_heads=num_heads,
            ffn_dim=ffn_dim,
            dropout=dropout,
            groups=groups,
            kind=attention,
            feedback=feedback,
        )

    @property
    def refused(self) -> Mapping[str, str]:
        """Uses that this head cannot serve: export, and training in shards."""
        return {
            "asr export": "no exported graph runs a decoder token by token",
            "training in shards": "its loss runs in several parts, which are not gathered",
        }

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """Return CTC log probabilities, then the frames (B, T, V + D), in float32; see `split`."""
        return torch.cat([self.frame_log_probs(frames_BTD), frames_BTD.float()], -1)

    def split(self, outputs_BTX: Tensor) -> tuple[Tensor, Tensor]:
        """Split outputs of `forward` into CTC log probabilities (B, T, V) and frames (B, T, D)."""
        return outputs_BTX[..., : self.vocab_size], outputs_BTX[..., self.vocab_size :]

    def frame_log_probs(self, frames_BTD: Tensor) -> Tensor:
        """Compute log probabilities (B, T, V) of the CTC output."""
        logits_BTV: Tensor = self.ctc(self.dropout(frames_BTD.to(dtype_of(self.ctc))))
        return logits_BTV.float().log_softmax(-1)

    def loss(
        self,
        encoded: EncoderOutput,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        log_probs_BTV: Tensor | None = None,
    ) -> HeadLoss:
        """Average ``w * CTC + (1 - w) * attention`` over all utterances."""
        if log_probs_BTV is None:
            log_probs_BTV = self.frame_log_probs(encoded.frames_BTD)
        target = encoded.lengths_B, token_ids_BU, token_lengths_B
        ctc_B = utterance_losses(log_probs_BTV, *target, zero_infinity=True)
        attention_B = self.attention_losses(
            encoded.frames_BTD, *target, label_smoothing=self.label_smoothing
        )
        losses_B = self.ctc_weight * ctc_B + (1 - self.ctc_weight) * attention_B
        return HeadLoss(losses_B.mean(), 0)

    def utterance_losses(
        self,
        outputs_BTX: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
    ) -> Tensor:
        """Compute (B,) losses with the weights of training, without label smoothing."""
        log_probs_BTV, frames_BTD = self.split(outputs_BTX)
        target = lengths_B, token_ids_BU, token_lengths_B
        ctc_B = utterance_losses(log_probs_BTV, *target)
        attention_B = self.attention_losses(frames_BTD, *target)
        return self.ctc_weight * ctc_B + (1 - self.ctc_weight) * attention_B

    def attention_losses(
        self,
        frames_BTD: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Compute (B,) the decoder's divergence from the smoothed targets, summed over tokens.

        The targets are the tokens of the transcript and its end.
        """
        token_lengths_B = token_lengths_B.to(token_ids_BU.device)
        places_S = torch.arange(token_ids_BU.shape[1] + 1, device=token_ids_BU.device)
        ends_BS = places_S >= token_lengths_B.unsqueeze(1)
        target_BS = functional.pad(token_ids_BU, (0, 1)).masked_fill(ends_BS, BOUNDARY_ID)
        given_BS = functional.pad(target_BS[:, :-1], (1, 0), value=BOUNDARY_ID)
        logits_BSV, _ = self.decoder(given_BS, self.decoder.memory(frames_BTD, lengths_B))
        log_probs_BSV = logits_BSV.log_softmax(-1)
        losses_BS = -log_probs_BSV.gather(2, target_BS.unsqueeze(-1)).squeeze(-1)
        if label_smoothing:
            others_BS = -log_probs_BSV.sum(-1) - losses_BS
            share = label_smoothing / (self.vocab_size - 1)
            least = (1 - label_smoothing) * math.log(1 - label_smoothing)
            least += label_smoothing * math.log(share)
            losses_BS = (1 - label_smoothing) * losses_BS + share * others_BS + least
        behind_BS = places_S > token_lengths_B.unsqueeze(1)
        sums_B: Tensor = losses_BS.masked_fill(behind_BS, 0.0).sum(1)
        return sums_B
