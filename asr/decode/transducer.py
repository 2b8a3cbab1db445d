"""Greedy search of a transducer by label looping (Bataev et al. 2024, arXiv 2406.06220).

The outer loop goes over tokens, the inner one over frames: while the best token is a blank, only
the joint network runs, on all utterances that still look for their next token; the predictor runs
once per token for all of them. At each frame at most ``max_symbols`` tokens are written, then the
search goes one frame on, so that it always ends.

Shape legend: B batch, R utterances still in search, T frames, J joint width, U tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from asr.decode.greedy import Alternatives
from asr.head.ctc import BLANK_ID
from asr.head.predictor import START_ID
from asr.head.transducer import TransducerHead
from asr.ranges import Range, in_ranges
from asr.types import Hypothesis


@dataclass(frozen=True, slots=True)
class Emissions:
    """What was written in T frames: ``scores_T`` log probability of the steps from each frame.

    Token u was written at frame ``frames_U`` and lasts to the frame before ``ends_U``; several may
    be written at one frame; ``scores_U`` is its log probability. ``alternatives`` are those of each
    chunk of the frames, where a beam was searched. On the CPU.
    """

    scores_T: Tensor
    ids_U: Tensor
    frames_U: Tensor
    ends_U: Tensor
    scores_U: Tensor
    alternatives: tuple[Alternatives, ...] = ()

    def __len__(self) -> int:
        return len(self.scores_T)

    def __getitem__(self, frames: slice) -> Emissions:
        first, last, _ = frames.indices(len(self))
        inside_U = (self.frames_U >= first) & (self.frames_U < last)
        return Emissions(
            self.scores_T[frames],
            self.ids_U[inside_U],
            self.frames_U[inside_U] - first,
            self.ends_U[inside_U].clamp(max=last) - first,
            self.scores_U[inside_U],
            tuple(one.moved(-first) for one in self.alternatives),
        )

    def first_ids(self) -> Tensor:
        """(T,) the first token written at each frame, blank where there is none."""
        ids_T = torch.full((len(self),), BLANK_ID)
        ids_T[self.frames_U.flip(0)] = self.ids_U.flip(0)  # the first one is written last
        return ids_T

    def joined(self, following: Sequence[Emissions]) -> Emissions:
        """These frames and then those of ``following``."""
        parts, offset, frames, ends = (self, *following), 0, [], []
        alternatives: list[Alternatives] = []
        for part in parts:
            frames.append(part.frames_U + offset)
            ends.append(part.ends_U + offset)
            alternatives += [one.moved(offset) for one in part.alternatives]
            offset += len(part)
        return Emissions(
            torch.cat([part.scores_T for part in parts]),
            torch.cat([part.ids_U for part in parts]),
            torch.cat(frames),
            torch.cat(ends),
            torch.cat([part.scores_U for part in parts]),
            tuple(alternatives),
        )


@in_ranges("decode")
class TransducerGreedy:
    """The best token, and in TDT its best duration, again and again.

    Args:
        max_symbols: most tokens written at one frame.
    """

    head_name = TransducerHead.name

    def __init__(
        self, *, head: TransducerHead, max_symbols: Annotated[int, Range(1, 1000)] = 10
    ) -> None:
        self.head = head
        self.max_symbols = max_symbols

    def __call__(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """One hypothesis per utterance; frames behind a length are not read."""
        return [self.collapse(labels) for labels in self.label(outputs_BTJ, lengths_B)]

    def blanks(self, num_frames: int) -> Emissions:
        """Frames in which nothing is written."""
        none_U = torch.zeros(0, dtype=torch.int64)
        return Emissions(torch.zeros(num_frames), none_U, none_U, none_U, none_U.float())

    def collapse(self, labels: Emissions) -> Hypothesis:
        """The hypothesis that was written."""
        return Hypothesis(
            token_ids=tuple(labels.ids_U.tolist()),
            token_frames=tuple(labels.frames_U.tolist()),
            token_ends=tuple(labels.ends_U.tolist()),
            score=float(labels.scores_T.sum()),
            token_scores=tuple(labels.scores_U.tolist()),
        )

    @torch.no_grad()
    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """What is written at the frames of each utterance."""
        head, device = self.head, outputs_BTJ.device
        batch = len(lengths_B)
        scores_BT = torch.zeros(outputs_BTJ.shape[:2], device=device)
        written: list[tuple[Tensor, ...]] = []
        frame_B = torch.zeros(batch, dtype=torch.int64, device=device)
        num_at_frame_B = torch.zeros_like(frame_B)
        start_B = torch.full_like(frame_B, START_ID)
        predicted_BP, state = head.predictor.step(start_B, head.predictor.start(batch, device))
        predicted_BJ = head.project_predictor(predicted_BP)
        rows_R = (frame_B < lengths_B).nonzero().squeeze(1)
        while len(rows_R):
            wrote, wrote_scores = [], []
            while len(rows_R):
                at_R = frame_B[rows_R]
                score_R, id_R, duration_R = self._best(
                    outputs_BTJ[rows_R, at_R], predicted_BJ[rows_R]
                )
                scores_BT[rows_R, at_R] += score_R
                is_token_R = id_R != BLANK_ID
                num_R = num_at_frame_B[rows_R] + is_token_R
                is_full_R = num_R >= self.max_symbols
                step_R = torch.where(is_token_R & ~is_full_R, duration_R, duration_R.clamp(min=1))
                frame_B[rows_R] = at_R + step_R
                num_at_frame_B[rows_R] = num_R.masked_fill(step_R > 0, 0)
                wrote.append(
                    torch.stack([rows_R, id_R, at_R, at_R + duration_R.clamp(min=1)])[:, is_token_R]
                )
                wrote_scores.append(score_R[is_token_R])
                rows_R = rows_R[~is_token_R]
                rows_R = rows_R[frame_B[rows_R] < lengths_B[rows_R]]
            found = torch.cat(wrote, 1)
            written.append((*found.cpu(), torch.cat(wrote_scores).cpu()))
            rows_R = found[0][frame_B[found[0]] < lengths_B[found[0]]]
            if len(rows_R):
                ids_B = start_B.index_put((found[0],), found[1])
                predicted_RP, state_R = head.predictor.step(
                    ids_B[rows_R], tuple(one[rows_R] for one in state)
                )
                predicted_BJ[rows_R] = head.project_predictor(predicted_RP)
                state = tuple(
                    one.index_put((rows_R,), new) for one, new in zip(state, state_R, strict=True)
                )
        return self._by_utterance(scores_BT.cpu(), lengths_B.cpu(), written)

    def _best(self, frames_RJ: Tensor, predicted_RJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log probability, token and duration of the best step; without TDT a blank lasts 1."""
        logits_RX = self.head.logits(frames_RJ, predicted_RJ)
        tokens_RV = logits_RX[:, : self.head.vocab_size].log_softmax(-1)
        score_R, id_R = tokens_RV.max(-1)
        if not self.head.durations:
            return score_R, id_R, (id_R == BLANK_ID).long()
        durations_D = torch.tensor(self.head.durations, device=id_R.device)
        lasting_RD = logits_RX[:, self.head.vocab_size :].log_softmax(-1)
        lasting_R, index_R = lasting_RD.max(-1)
        return score_R + lasting_R, id_R, durations_D[index_R]

    @staticmethod
    def _by_utterance(
        scores_BT: Tensor, lengths_B: Tensor, written: Sequence[tuple[Tensor, ...]]
    ) -> list[Emissions]:
        none_U = torch.zeros(0, dtype=torch.int64)
        rows, ids, frames, ends, scores = (
            (torch.cat(part) for part in zip(*written, strict=True)) if written else [none_U] * 5
        )
        found = []
        for row, length in enumerate(lengths_B.tolist()):
            mine = rows == row
            found.append(
                Emissions(
                    scores_BT[row, :length],
                    ids[mine],
                    frames[mine],
                    ends[mine].clamp(max=length),
                    scores[mine].float(),
                )
            )
        return found
