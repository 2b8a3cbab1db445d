"""The sequences of a transducer's beam with the moves that made them, traced back at the end.

Shape legend: B batch, T frames, K hypotheses of a beam, U tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asr.decode.greedy import Alternatives
from asr.decode.prefix_beam import NEVER, NO_TOKEN, Move
from asr.decode.transducer_search import Emissions
from asr.types import ScoredTokens


@dataclass(frozen=True, slots=True)
class ScoredPath:
    """A sequence with its score, its tokens' frames, and the log probability of each move.

    ``lost`` is the log probability that its moves lose to the audio's best moves.
    """

    scored: ScoredTokens
    frames: tuple[int, ...]
    scores_T: Tensor
    lost: float

    def emissions(self, num_frames: int, listed: Sequence[ScoredTokens]) -> Emissions:
        """Return the emitted tokens, with the utterance's best sequences."""
        frames_U = torch.tensor(self.frames, dtype=torch.int64)
        scores_T = self.scores_T[:num_frames]
        return Emissions(
            scores_T,
            torch.tensor(self.scored.token_ids, dtype=torch.int64),
            frames_U,
            frames_U + 1,
            scores_T[frames_U],
            (Alternatives(0, num_frames, tuple(listed)),),
        )


def in_new_order(written: Sequence[ScoredPath], order: Sequence[ScoredTokens]) -> list[ScoredPath]:
    """Return the sequences in the order, and with the scores, of ``order``."""
    by_ids = {one.scored.token_ids: one for one in written}
    return [replace(by_ids[one.token_ids], scored=one) for one in order]


def trace_back(
    steps: Sequence[tuple[Move, Tensor, Tensor]], total_BK: Tensor, added_BK: Tensor
) -> list[list[ScoredPath]]:
    """Trace every hypothesis of the last beam back to its first frame."""
    score_BK, place_BK = (total_BK + added_BK).sort(dim=1, descending=True, stable=True)
    total, added = total_BK.gather(1, place_BK).tolist(), added_BK.gather(1, place_BK).tolist()
    place_BK = place_BK.cpu()
    batch, beam = place_BK.shape
    tokens_TBK = torch.full((len(steps), batch, beam), NO_TOKEN)
    scores_TBK = torch.zeros(len(steps), batch, beam)
    lost_BK = torch.zeros(batch, beam, dtype=torch.float64)
    for frame in reversed(range(len(steps))):
        move, moved_BK, less_BK = steps[frame]
        tokens_TBK[frame] = move.token_BK.cpu().gather(1, place_BK)
        scores_TBK[frame] = moved_BK.cpu().gather(1, place_BK).float()
        lost_BK += less_BK.cpu().gather(1, place_BK)
        place_BK = move.source_BK.cpu().gather(1, place_BK)
    found = []
    for row, scores in enumerate(score_BK.tolist()):
        listed = []
        for place, score in enumerate(scores):
            if place and score == NEVER:
                continue
            tokens_T = tokens_TBK[:, row, place]
            frames = (tokens_T != NO_TOKEN).nonzero().squeeze(1)
            ids = tuple(tokens_T[frames].tolist())
            scored = ScoredTokens(ids, acoustic=total[row][place], added=added[row][place])
            listed.append(
                ScoredPath(
                    scored,
                    tuple(frames.tolist()),
                    scores_TBK[:, row, place],
                    float(lost_BK[row, place]),
                )
            )
        found.append(listed)
    return found
