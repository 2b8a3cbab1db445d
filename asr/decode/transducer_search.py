"""The tokens that a transducer writes, frame by frame, and the base of its searches.

Shape legend: B batch, T frames, J joint width, U tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decode.greedy import Alternatives
from asr.head.ctc import BLANK_ID
from asr.head.transducer import TransducerHead
from asr.types import Hypothesis


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


class TransducerSearch(ABC):
    """Base of the searches of a transducer: from what was written to a hypothesis."""

    head_name = TransducerHead.name

    def __init__(self, head: TransducerHead) -> None:
        self.head = head

    def __call__(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """Return one hypothesis per utterance; frames after its end are ignored."""
        return [self.collapse(labels) for labels in self.label(outputs_BTJ, lengths_B)]

    @abstractmethod
    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """Return the tokens emitted in each utterance."""

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
