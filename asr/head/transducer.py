"""Transducer head: RNN-T (Graves 2012) and TDT (Xu et al. 2023), with an optional CTC output.

A predictor turns the tokens emitted so far into a vector. A joint network adds it to the frame and
computes logits of the next token (blank is id 0) and, in TDT, of its duration in frames. The logits
of a batch, B x T x (U + 1) x V, are by far the largest tensor of training; they are computed for a
few utterances at a time, below ``max_lattice_mib``.

Shape legend: B batch, T frames, D model width, J joint width, U tokens, S = U + 1 states,
V vocabulary, X tokens and durations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asr.errors import InputError
from asr.head.base import Head, HeadLoss
from asr.head.ctc import utterance_losses
from asr.head.lattice import rnnt_losses, tdt_losses
from asr.head.predictor import LstmPredictor, Predictor, StatelessPredictor
from asr.ranges import MAX_VOCABULARY, Range, Share, Width, in_ranges
from asr.types import Batch, EncoderOutput

MAX_ELEMENTS = 2**31 - 1
"""Most logits in one call of torchaudio's loss, which has 32-bit indices."""
_NO_CTC = "it has no CTC output (head.ctc_weight is 0)"


@in_ranges("head")
class TransducerHead(Head):
    """A predictor and a joint network, with an optional CTC output.

    Args:
        d_model: width D of the encoder.
        vocab_size: number of tokens, including the blank at id 0.
        predictor: ``stateless`` reads the last ``predictor_context`` tokens, ``lstm`` all of them.
        predictor_width: width of the predictor's embedding and output.
        predictor_layers: layers of the LSTM; None for 1. Only with ``lstm``.
        predictor_context: tokens of context; None for 2. Only with ``stateless``.
        joint_dim: width J of the joint network.
        dropout: dropout of frames, embeddings and the joint network's hidden layer.
        durations: possible durations of a TDT step in frames, with 0 and 1; empty for RNN-T.
        sigma: under-normalisation of TDT, see `tdt_losses`.
        omega: share of training batches with the RNN-T loss of the TDT logits instead.
        ctc_weight: weight of a CTC loss on the same frames. Both losses are means over the
            utterances of a batch; the CTC loss of an utterance without an alignment is 0.
        max_lattice_mib: most memory for the logits of one piece of a batch, in MiB of float32. The
            gradient and the hidden layer need more beside it. Several pieces are computed again in
            the backward pass.

    Raises:
        InputError: a value is outside its range, or has no effect on this predictor or loss.
    """

    name = "transducer"
    leaves_out_short = False
    tensors_by_piece = (
        "predictor.embedding.weight",
        *("joint.weight", "joint.bias", "ctc.weight", "ctc.bias"),
    )

    def __init__(
        self,
        *,
        d_model: Width,
        vocab_size: Annotated[int, Range(1, MAX_VOCABULARY)],
        predictor: Literal["stateless", "lstm"] = "stateless",
        predictor_width: Width = 256,
        predictor_layers: Annotated[int, Range(1, 16)] | None = None,
        predictor_context: Annotated[int, Range(1, 16)] | None = None,
        joint_dim: Width = 256,
        dropout: Share = 0.0,
        durations: Sequence[Annotated[int, Range(0, 64)]] = (),
        sigma: Annotated[float, Range(0, 1)] = 0.0,
        omega: Share = 0.0,
        ctc_weight: Annotated[float, Range(0, 1, below=True)] = 0.0,
        max_lattice_mib: Annotated[float, Range(0, 1e6, above=True)] = 512.0,
    ) -> None:
        super().__init__()
        if durations and (not {0, 1} <= set(durations) or sorted(set(durations)) != [*durations]):
            raise InputError(
                f"head.durations={[*durations]}: allowed: rising numbers of frames that begin with "
                "0 and 1, or [] for RNN-T"
            )
        for key, value in (("sigma", sigma), ("omega", omega)):
            if value and not durations:
                raise InputError(f"head.{key}={value:g} has no effect without head.durations")
        if predictor == "lstm" and predictor_context is not None:
            raise InputError("head.predictor_context has no effect with head.predictor=lstm")
        if predictor == "stateless" and predictor_layers is not None:
            raise InputError("head.predictor_layers has no effect with head.predictor=stateless")
        self.vocab_size = vocab_size
        self.durations = tuple(durations)
        self.sigma, self.omega = sigma, omega
        self.ctc_weight = ctc_weight
        self.max_lattice_mib = max_lattice_mib
        self.predictor: Predictor = (
            LstmPredictor(
                vocab_size=vocab_size,
                width=predictor_width,
                num_layers=predictor_layers or 1,
                dropout=dropout,
            )
            if predictor == "lstm"
            else StatelessPredictor(
                vocab_size=vocab_size,
                width=predictor_width,
                context=predictor_context or 2,
                dropout=dropout,
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.project_frames = nn.Linear(d_model, joint_dim)
        self.project_predictor = nn.Linear(predictor_width, joint_dim)
        self.joint = nn.Linear(joint_dim, vocab_size + len(self.durations))
        self.ctc = nn.Linear(d_model, vocab_size) if ctc_weight else None

    @property
    def refused(self) -> Mapping[str, str]:
        """Uses that this head cannot serve; without a CTC output also those that align frames."""
        reasons = {
            "asr export": "no exported graph runs a predictor token by token",
            "training in shards": "its loss runs in several parts, which are not gathered",
        }
        if self.ctc is None:
            reasons |= {"asr align": _NO_CTC, "asr analyze": _NO_CTC, "distillation": _NO_CTC}
        return reasons

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """Project frames to the joint network's width (B, T, J), in float32."""
        frames_BTD = self.dropout(frames_BTD.to(self.project_frames.weight.dtype))
        projected_BTJ: Tensor = self.project_frames(frames_BTD)
        return projected_BTJ

    def logits(self, frames_XJ: Tensor, predicted_XJ: Tensor) -> Tensor:
        """Compute logits (..., X) from projected frames and predictions, at least float32."""
        hidden_XJ = self.dropout((frames_XJ + predicted_XJ).tanh())
        logits: Tensor = self.joint(hidden_XJ)
        return logits if logits.dtype == torch.float64 else logits.float()

    def loss(
        self,
        encoded: EncoderOutput,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        log_probs_BTV: Tensor | None = None,
    ) -> HeadLoss:
        """Average ``(1 - w) * transducer + w * CTC`` over all utterances.

        Raises:
            InputError: a single utterance exceeds ``max_lattice_mib``.
        """
        as_rnnt = bool(self.training and self.omega and torch.rand(()) < self.omega)
        outputs_BTJ = self(encoded.frames_BTD)
        target = encoded.lengths_B, token_ids_BU, token_lengths_B
        losses_B = self.utterance_losses(outputs_BTJ, *target, as_rnnt=as_rnnt)
        if self.ctc is not None:
            if log_probs_BTV is None:
                log_probs_BTV = self.frame_log_probs(encoded.frames_BTD)
            ctc_B = utterance_losses(log_probs_BTV, *target, zero_infinity=True)
            losses_B = (1 - self.ctc_weight) * losses_B + self.ctc_weight * ctc_B
        return HeadLoss(losses_B.mean(), 0)

    def utterance_losses(
        self,
        outputs_BTX: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        *,
        as_rnnt: bool = False,
    ) -> Tensor:
        """Compute (B,) negative log likelihoods; ``outputs_BTX`` are projected frames.

        ``as_rnnt`` ignores the durations of TDT.
        """
        predicted_BSJ = self.project_predictor(self.predictor(token_ids_BU))
        pieces = list(self.pieces(lengths_B.tolist(), token_lengths_B.tolist()))
        losses = []
        for piece in pieces:
            num_frames = int(lengths_B[piece].max())
            num_tokens = int(token_lengths_B[piece].max())
            arguments = (
                outputs_BTX[piece, :num_frames],
                predicted_BSJ[piece, : num_tokens + 1],
                lengths_B[piece],
                token_ids_BU[piece, :num_tokens],
                token_lengths_B[piece],
                as_rnnt,
            )
            losses.append(
                checkpoint(self._losses, *arguments, use_reentrant=False)
                if len(pieces) > 1 and torch.is_grad_enabled()
                else self._losses(*arguments)
            )
        return torch.cat(losses)

    def _losses(
        self,
        outputs_BTJ: Tensor,
        predicted_BSJ: Tensor,
        lengths_B: Tensor,
        token_ids_BU: Tensor,
        token_lengths_B: Tensor,
        as_rnnt: bool,
    ) -> Tensor:
        with torch.autocast(outputs_BTJ.device.type, enabled=False):
            kind = self.joint.weight.dtype
            logits_BTSX = self.logits(
                outputs_BTJ.to(kind).unsqueeze(2), predicted_BSJ.to(kind).unsqueeze(1)
            )
            if as_rnnt or not self.durations:
                tokens_BTSV = logits_BTSX[..., : self.vocab_size]
                return rnnt_losses(tokens_BTSV, lengths_B, token_ids_BU, token_lengths_B)
            return tdt_losses(
                logits_BTSX,
                lengths_B,
                token_ids_BU,
                token_lengths_B,
                durations=self.durations,
                sigma=self.sigma,
            )

    def frame_log_probs(self, frames_BTD: Tensor) -> Tensor:
        """Compute log probabilities (B, T, V) of the CTC output."""
        assert self.ctc is not None, "asked for without check_serves"
        logits_BTV: Tensor = self.ctc(self.dropout(frames_BTD.to(self.ctc.weight.dtype)))
        return logits_BTV.float().log_softmax(-1)

    def pieces(self, lengths: Sequence[int], token_lengths: Sequence[int]) -> Iterator[slice]:
        """Split a batch into pieces with few enough logits, padded to the longest in the piece.

        Raises:
            InputError: a single utterance exceeds the limit.
        """
        width = self.joint.out_features
        most = min(MAX_ELEMENTS, int(self.max_lattice_mib * 2**20 / 4))
        start = frames = states = 0
        for index, (length, num_tokens) in enumerate(zip(lengths, token_lengths, strict=True)):
            alone = length * (num_tokens + 1) * width
            if alone > most:
                raise InputError(
                    f"head.max_lattice_mib={self.max_lattice_mib:g}: an utterance of {length:,} "
                    f"frames and {num_tokens:,} tokens needs {alone * 4 / 2**20:,.2f} MiB of joint "
                    "logits; raise it (up to 8,191), or lower data.batching.max_duration_s or "
                    "text.tokenizer.vocab_size"
                )
            frames, states = max(frames, length), max(states, num_tokens + 1)
            if (index + 1 - start) * frames * states * width > most:
                yield slice(start, index)
                start, frames, states = index, length, num_tokens + 1
        yield slice(start, len(lengths))

    def describe_loss(self, num_frames: int, batch: Batch) -> str:
        """Describe the size of a batch's joint logits, if all utterances had ``num_frames``."""
        num_states = int(batch.token_lengths_B.max()) + 1
        width = self.joint.out_features
        size_mib = len(batch) * num_frames * num_states * width * 4 / 2**20
        pieces = list(self.pieces([num_frames] * len(batch), batch.token_lengths_B.tolist()))
        largest = max(piece.stop - piece.start for piece in pieces)
        return (
            f"joint logits of the largest batch: {len(batch)} x {num_frames:,} x {num_states} x "
            f"{width:,}, {size_mib:,.2f} MiB and as much for their gradient, in {len(pieces)} "
            f"piece{'s' if len(pieces) > 1 else ''} of up to {largest} utterances "
            f"(head.max_lattice_mib={self.max_lattice_mib:g})"
        )
