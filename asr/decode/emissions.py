"""CTC log probabilities of selected tokens for every frame, for audio of any length.

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
"""Log probability of a token that is impossible in a frame."""


class CtcModel:
    """An acoustic model that returns the CTC output of any head that has one.

    Raises:
        InputError: the head has no CTC output.
    """

    def __init__(self, model: AsrModel) -> None:
        model.head.check_serves("asr align")
        self._model = model
        self.frontend = model.frontend
        self.subsampling_factor = model.subsampling_factor
        self.device = model.device
        self.runs_in_threads = model.runs_in_threads

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute CTC log probabilities (B, T, V) and the number of valid frames (B,)."""
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
        """Token of each frame (T,) on the best path."""
        return self.path.first_ids()

    def joined(self, following: Sequence[TokenEmissions]) -> TokenEmissions:
        """Return these frames, then those of ``following``."""
        return TokenEmissions(
            self.path.joined([one.path for one in following]),
            torch.cat([self.kept_TC, *(one.kept_TC for one in following)]),
        )


class EmissionReader:
    """A search that keeps the best path and the log probabilities of blank and ``token_ids``."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._greedy = GreedyDecoder()
        self._columns = torch.tensor([self._greedy.blank_id, *token_ids])

    def __call__(self, log_probs_BTV: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
        """Return the hypotheses of the best paths."""
        return [self.collapse(one) for one in self.label(log_probs_BTV, lengths_B)]

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor, /) -> list[TokenEmissions]:
        """Return the best path and kept log probabilities of each utterance."""
        kept_BTC = log_probs_BTV[..., self._columns.to(log_probs_BTV.device)].half().cpu()
        paths = self._greedy.label(log_probs_BTV, lengths_B)
        return [
            TokenEmissions(path, kept_TC[: len(path)].clone())
            for path, kept_TC in zip(paths, kept_BTC, strict=True)
        ]

    def blanks(self, num_frames: int, /) -> TokenEmissions:
        """Return the labels of frames without speech."""
        kept_TC = torch.full((num_frames, len(self._columns)), IMPOSSIBLE, dtype=torch.float16)
        kept_TC[:, 0] = 0.0
        return TokenEmissions(self._greedy.blanks(num_frames), kept_TC)

    def collapse(self, labels: TokenEmissions, /) -> Hypothesis:
        """Return the hypothesis of the best path."""
        return self._greedy.collapse(labels.path)
