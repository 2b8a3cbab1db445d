"""The acoustic model: features, encoder and head as one module.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.encoder.graphed import GraphedEncoder
from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.features.frontend import Frontend
from asr.head.base import Head, HeadLoss
from asr.model.exits import ConfidentExit
from asr.ranges import shown
from asr.types import Batch, EncoderOutput


class AsrModel(nn.Module):
    """A speech recogniser without data and search: front end, encoder and head.

    Raises:
        InputError: the head uses an intermediate layer that the encoder lacks, or consistency
            between masks without SpecAugment.
    """

    def __init__(self, *, frontend: Frontend, encoder: Encoder, head: Head) -> None:
        super().__init__()
        for layer in head.intermediate_layers:
            if not 0 <= layer < encoder.num_layers - 1:
                raise InputError(
                    f"head.intermediate_layers={list(head.intermediate_layers)}: "
                    f"allowed: 0 to {encoder.num_layers - 2} (layers below the last, from 0)"
                )
        if head.consistency_weight and frontend.specaugment is None:
            raise InputError(
                f"head.consistency_weight={head.consistency_weight:g} compares two draws of "
                "SpecAugment: pick features.specaugment, or set it to 0"
            )
        self.frontend = frontend
        self.encoder = encoder
        self.head = head
        self.graphs: GraphedEncoder | None = None
        self.confident_exit: ConfidentExit | None = None

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the search (B, T, X), float32, and the number of valid frames (B,).

        For a CTC head these are log probabilities; see `Head.forward`.
        """
        features_BTF, lengths_B = self.frontend(waveforms_BN, lengths_B)
        if self.confident_exit is not None:
            return self.confident_exit(features_BTF, lengths_B)
        encoder = self.encoder if self.graphs is None else self.graphs
        encoded = encoder(features_BTF, lengths_B)
        return self.head(encoded.frames_BTD), encoded.lengths_B

    def loss(self, batch: Batch) -> HeadLoss:
        """Return the training loss of a batch, with the number of utterances too short to align."""
        features_BTF, lengths_B = self.training_features(batch)
        return self.head.loss(
            self.encode(features_BTF, lengths_B), batch.token_ids_BU, batch.token_lengths_B
        )

    def training_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return features and lengths for `Head.loss`: in training `num_copies` of each."""
        num_copies = self.head.num_copies if self.training else 1
        features_BTF, lengths_B = self.frontend(
            batch.waveforms_BN, batch.waveform_lengths_B, num_copies
        )
        return features_BTF, lengths_B

    def utterance_losses(self, outputs_BTX: Tensor, lengths_B: Tensor, batch: Batch) -> Tensor:
        """Return (B,): each transcript's negative log likelihood, given the result of `forward`."""
        return self.head.utterance_losses(
            outputs_BTX, lengths_B, batch.token_ids_BU, batch.token_lengths_B
        )

    def encode(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """Return the input of the loss: the encoder's frames, and those of intermediate layers."""
        encoded: EncoderOutput = self.encoder(
            features_BTF, lengths_B, self.head.intermediate_layers
        )
        return encoded

    @property
    def exits(self) -> tuple[int, ...]:
        """Numbers of layers after which the head was trained, ending with all layers."""
        depth = self.encoder.num_layers
        below = (layer + 1 for layer in self.head.intermediate_layers)
        return (*(number for number in below if number < depth), depth)

    def check_exit(self, num_layers: int) -> None:
        """Raise InputError unless the head was trained after ``num_layers`` layers."""
        if num_layers not in self.exits:
            raise InputError(
                f"exit {shown(num_layers)}: allowed: {', '.join(map(str, self.exits))}, the "
                f"numbers of layers after which the {self.head.name} head of this model was "
                "trained (head.intermediate_layers)"
            )

    def exit_at(self, num_layers: int) -> None:
        """End the encoder after ``num_layers`` layers from now on; the others are dropped.

        Raises:
            InputError: see `check_exit`.
        """
        self.check_exit(num_layers)
        self.encoder.exit_at(num_layers)

    def exit_when_confident(self, entropy: float) -> ConfidentExit:
        """From now on, end each utterance at its first exit with this entropy or less.

        Raises:
            InputError: see `ConfidentExit`.
        """
        self.confident_exit = ConfidentExit(self.encoder, self.head, self.exits, entropy)
        return self.confident_exit

    def use_cuda_graphs(self) -> GraphedEncoder:
        """From now on, record and replay the encoder in inference, which must be on CUDA.

        Raises:
            InputError: the number of layers depends on the audio.
        """
        if self.confident_exit is not None:
            raise InputError(
                "a CUDA graph (--cuda-graphs) runs the same layers each time; with exit_entropy "
                "leave it out"
            )
        self.graphs = GraphedEncoder(self.encoder)
        return self.graphs

    @property
    def subsampling_factor(self) -> int:
        """Number of feature frames per encoder frame."""
        return int(self.encoder.subsampling_factor)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def runs_in_threads(self) -> bool:
        """Whether several threads may each run a batch; on a GPU they wait for one another."""
        return self.device.type == "cpu"

    @property
    def frame_shift_s(self) -> float:
        """Seconds of audio per output frame."""
        return float(self.frontend.frame_shift_ms / 1000 * self.subsampling_factor)
