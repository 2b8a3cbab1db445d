"""Greedy CTC decoding: the best token of every frame, collapsed (Graves et al. 2006, section 3.2).

Shape legend: B batch, T frames, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.types import Hypothesis


class GreedyDecoder:
    """Drops repeats, then blanks, from the best path."""

    def __init__(self, *, blank_id: int = 0) -> None:
        self.blank_id = blank_id

    def __call__(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """One hypothesis per utterance; frames behind a length are not read."""
        scores_BT, ids_BT = log_probs_BTV.max(-1)
        changed_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        changed_BT[:, 1:] = ids_BT[:, 1:] != ids_BT[:, :-1]
        emitted_BT = changed_BT & (ids_BT != self.blank_id)
        scores_BT, ids_BT, emitted_BT = scores_BT.cpu(), ids_BT.cpu(), emitted_BT.cpu()
        return [
            best_path(scores_BT[row, :length], ids_BT[row, :length], emitted_BT[row, :length])
            for row, length in enumerate(lengths_B.tolist())
        ]


def best_path(scores_T: Tensor, ids_T: Tensor, emitted_T: Tensor) -> Hypothesis:
    """The hypothesis of one utterance from its best ids and where a token is emitted."""
    frames = emitted_T.nonzero().squeeze(-1)
    return Hypothesis(
        token_ids=tuple(ids_T[frames].tolist()),
        token_frames=tuple(frames.tolist()),
        score=float(scores_T.sum()),
    )
