"""Greedy search of a transducer by label looping (Bataev et al. 2024, arXiv 2406.06220).

The outer loop goes over tokens, the inner one over frames. While the best token is a blank, only
the joint network runs, for all utterances that still look for their next token. The predictor runs
once per token for all of them. After ``max_symbols`` tokens in a frame the search moves to the next
frame, so it always ends.

Shape legend: B batch, R utterances still in search, T frames, J joint width, U tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from asr.decode.greedy import Alternatives
from asr.head.ctc import BLANK_ID
from asr.head.predictor import START_ID, State
from asr.head.transducer import TransducerHead
from asr.ranges import Range, in_ranges
from asr.types import Hypothesis

if TYPE_CHECKING:
    from asr.decode.online import OnlineSearch


@dataclass(frozen=True, slots=True)
class Emissions:
    """The tokens emitted in T frames, on the CPU.

    Token u was emitted at frame ``frames_U`` with log probability ``scores_U`` and lasts to the
    frame before ``ends_U``; one frame may emit several. ``scores_T`` is the log probability of all
    steps from each frame. After a beam search, ``alternatives`` holds the best sequences of each
    chunk.
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
        """First token emitted at each frame (T,), blank if there is none."""
        ids_T = torch.full((len(self),), BLANK_ID)
        ids_T[self.frames_U.flip(0)] = self.ids_U.flip(0)  # a frame's first token is assigned last
        return ids_T

    def joined(self, following: Sequence[Emissions]) -> Emissions:
        """Return these frames, then those of ``following``."""
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


@dataclass(frozen=True, slots=True)
class Written:
    """The state of a greedy search: its next frame, the predictor's output and its state.

    ``frame_B`` is counted from the first frame of the next block; a TDT step may skip frames of it.
    """

    frame_B: Tensor
    predicted_BJ: Tensor
    state: State


@in_ranges("decode")
class TransducerGreedy:
    """Greedy search: always the best token, and in TDT the best duration.

    Args:
        max_symbols: most tokens emitted at one frame.
    """

    head_name = TransducerHead.name

    def __init__(
        self, *, head: TransducerHead, max_symbols: Annotated[int, Range(1, 1000)] = 10
    ) -> None:
        self.head = head
        self.max_symbols = max_symbols

    def __call__(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """Return one hypothesis per utterance; frames after its end are ignored."""
        return [self.collapse(labels) for labels in self.label(outputs_BTJ, lengths_B)]

    def blanks(self, num_frames: int) -> Emissions:
        """Return frames without tokens."""
        none_U = torch.zeros(0, dtype=torch.int64)
        return Emissions(torch.zeros(num_frames), none_U, none_U, none_U, none_U.float())

    def collapse(self, labels: Emissions) -> Hypothesis:
        """Return the hypothesis of the emitted tokens."""
        return Hypothesis(
            token_ids=tuple(labels.ids_U.tolist()),
            token_frames=tuple(labels.frames_U.tolist()),
            token_ends=tuple(labels.ends_U.tolist()),
            score=float(labels.scores_T.sum()),
            token_scores=tuple(labels.scores_U.tolist()),
        )

    def online(self) -> OnlineSearch:
        """Return a search of a new stream; see `asr.decode.online`."""
        return OnlineTransducer(self)

    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """Return the tokens emitted in each utterance."""
        start = self.begin(len(lengths_B), outputs_BTJ.device)
        found, _ = self.go_on(outputs_BTJ, lengths_B, start)
        return [
            replace(one, ends_U=one.ends_U.clamp(max=length))
            for one, length in zip(found, lengths_B.tolist(), strict=True)
        ]

    @torch.no_grad()
    def begin(self, batch: int, device: torch.device) -> Written:
        """Return the state before the first frame."""
        start_B = torch.full((batch,), START_ID, device=device)
        predicted_BP, state = self.head.predictor.step(
            start_B, self.head.predictor.start(batch, device)
        )
        return Written(torch.zeros_like(start_B), self.head.project_predictor(predicted_BP), state)

    @torch.no_grad()
    def go_on(
        self, outputs_BTJ: Tensor, lengths_B: Tensor, before: Written
    ) -> tuple[list[Emissions], Written]:
        """Search more frames; return the tokens written there and the new state.

        A token may end after the last frame.
        """
        head, device = self.head, outputs_BTJ.device
        scores_BT = torch.zeros(outputs_BTJ.shape[:2], device=device)
        written: list[tuple[Tensor, ...]] = []
        frame_B, predicted_BJ, state = before.frame_B.clone(), before.predicted_BJ, before.state
        predicted_BJ = predicted_BJ.clone()
        ids_B = torch.full_like(frame_B, START_ID)
        num_at_frame_B = torch.zeros_like(frame_B)
        lengths_B = lengths_B.to(device)
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
            rows_R = found[0]
            if len(rows_R):
                ids_B[rows_R] = found[1]
                predicted_RP, state_R = head.predictor.step(
                    ids_B[rows_R], tuple(one[rows_R] for one in state)
                )
                predicted_BJ[rows_R] = head.project_predictor(predicted_RP)
                state = tuple(
                    one.index_put((rows_R,), new) for one, new in zip(state, state_R, strict=True)
                )
            rows_R = rows_R[frame_B[rows_R] < lengths_B[rows_R]]
        after = Written((frame_B - lengths_B).clamp(min=0), predicted_BJ, state)
        return self._by_utterance(scores_BT.cpu(), lengths_B.cpu(), written), after

    def _best(self, frames_RJ: Tensor, predicted_RJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log probability, token and duration of the best step; in RNN-T a blank lasts 1."""
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
                    ends[mine],
                    scores[mine].float(),
                )
            )
        return found


class OnlineTransducer:
    """Greedy search of one stream; see `asr.decode.online.OnlineSearch`."""

    def __init__(self, search: TransducerGreedy) -> None:
        self._search = search
        self._emissions = search.blanks(0)
        self._written: Written | None = None

    def advance(self, outputs_TJ: Tensor) -> None:
        """Search more frames."""
        if self._written is None:
            self._written = self._search.begin(1, outputs_TJ.device)
        lengths_1 = torch.tensor([len(outputs_TJ)])
        (found,), self._written = self._search.go_on(outputs_TJ[None], lengths_1, self._written)
        self._emissions = self._emissions.joined([found])

    def best(self) -> Hypothesis:
        """Return the hypothesis of all tokens."""
        return self._search.collapse(self.labels(len(self._emissions)))

    path = best

    def labels(self, num_frames: int) -> Emissions:
        """Return the labels of the first ``num_frames``; the search never looks ahead."""
        return self._emissions[:num_frames]
