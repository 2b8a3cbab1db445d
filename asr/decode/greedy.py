"""Greedy CTC decoding: the best token of every frame, collapsed (Graves et al. 2006, section 3.2).

Shape legend: B batch, T frames, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.types import Hypothesis


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """The best token of every frame (T,) and its log probability (T,), on the CPU."""

    scores_T: Tensor
    ids_T: Tensor

    def __len__(self) -> int:
        return len(self.ids_T)

    def __getitem__(self, frames: slice) -> FrameLabels:
        return FrameLabels(self.scores_T[frames], self.ids_T[frames])


class GreedyDecoder:
    """Drops repeats, then blanks, from the best path."""

    def __init__(self, *, blank_id: int = 0) -> None:
        self.blank_id = blank_id

    def __call__(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """One hypothesis per utterance; frames behind a length are not read."""
        return [self.collapse(labels) for labels in self.label(log_probs_BTV, lengths_B)]

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """The best path of each utterance, frame by frame."""
        scores_BT, ids_BT = log_probs_BTV.max(-1)
        scores_BT, ids_BT = scores_BT.cpu(), ids_BT.cpu()
        return [
            FrameLabels(scores_BT[row, :length], ids_BT[row, :length])
            for row, length in enumerate(lengths_B.tolist())
        ]

    def blanks(self, num_frames: int) -> FrameLabels:
        """The best path where nothing is said."""
        return FrameLabels(torch.zeros(num_frames), torch.full((num_frames,), self.blank_id))

    def collapse(self, labels: FrameLabels) -> Hypothesis:
        """The hypothesis that a best path spells."""
        ids_T = labels.ids_T
        changed_T = torch.ones_like(ids_T, dtype=torch.bool)
        changed_T[1:] = ids_T[1:] != ids_T[:-1]
        last_T = changed_T.roll(-1)
        last_T[-1:] = True
        frames = (changed_T & (ids_T != self.blank_id)).nonzero().squeeze(-1)
        last_frames = (last_T & (ids_T != self.blank_id)).nonzero().squeeze(-1)
        return Hypothesis(
            token_ids=tuple(ids_T[frames].tolist()),
            token_frames=tuple(frames.tolist()),
            token_ends=tuple((last_frames + 1).tolist()),
            score=float(labels.scores_T.sum()),
        )
