"""CTC's log probabilities of chosen tokens, frame by frame, of audio of any length.

Shape legend: B batch, T frames, V vocabulary, C kept tokens, the blank in column 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.model.asr_model import AsrModel
from asr.types import Hypothesis

IMPOSSIBLE = -60.0
"""Log probability of what cannot be in a frame."""


class CtcModel:
    """The CTC output of a model of any head that has one, as searches of CTC read it.

    Raises:
        InputError: the head has none.
    """

    def __init__(self, model: AsrModel) -> None:
        model.head.check_serves("asr align")
        self._model = model
        self.frontend = model.frontend
        self.subsampling_factor = model.subsampling_factor
        self.device = model.device
        self.runs_in_threads = model.runs_in_threads

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """CTC log probabilities (B, T, V) and the number of valid frames (B,)."""
        encoded = self._model.encoder(*self.frontend(waveforms_BN, lengths_B))
        return self._model.head.frame_log_probs(encoded.frames_BTD).float(), encoded.lengths_B


@dataclass(frozen=True, slots=True)
class TokenEmissions:
    """The best path, and the log probabilities (T, C) of the kept tokens, in float16."""

    path: FrameLabels
    kept_TC: Tensor

    def __len__(self) -> int:
        return len(self.path)

    def __getitem__(self, frames: slice) -> TokenEmissions:
        return TokenEmissions(self.path[frames], self.kept_TC[frames])

    def first_ids(self) -> Tensor:
        """(T,) the token of each frame on the best path."""
        return self.path.first_ids()

    def joined(self, following: Sequence[TokenEmissions]) -> TokenEmissions:
        """These frames and then those of ``following``."""
        return TokenEmissions(
            self.path.joined([one.path for one in following]),
            torch.cat([self.kept_TC, *(one.kept_TC for one in following)]),
        )


class EmissionReader:
    """Keeps the best path and the log probabilities of ``token_ids``, the blank before them."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._greedy = GreedyDecoder()
        self._columns = torch.tensor([self._greedy.blank_id, *token_ids])

    def __call__(self, log_probs_BTV: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
        """What the best paths spell."""
        return [self.collapse(one) for one in self.label(log_probs_BTV, lengths_B)]

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor, /) -> list[TokenEmissions]:
        """What is kept of each utterance."""
        kept_BTC = log_probs_BTV[..., self._columns.to(log_probs_BTV.device)].half().cpu()
        paths = self._greedy.label(log_probs_BTV, lengths_B)
        return [
            TokenEmissions(path, kept_TC[: len(path)].clone())
            for path, kept_TC in zip(paths, kept_BTC, strict=True)
        ]

    def blanks(self, num_frames: int, /) -> TokenEmissions:
        """Frames in which nothing is said."""
        kept_TC = torch.full((num_frames, len(self._columns)), IMPOSSIBLE, dtype=torch.float16)
        kept_TC[:, 0] = 0.0
        return TokenEmissions(self._greedy.blanks(num_frames), kept_TC)

    def collapse(self, labels: TokenEmissions, /) -> Hypothesis:
        """What the best path spells."""
        return self._greedy.collapse(labels.path)
