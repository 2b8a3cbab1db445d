"""Greedy CTC decoding (Graves et al. 2006, section 3.2), and words with times."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from asr.metrics.confidence import tempered
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START
from asr.types import Hypothesis, ScoredTokens

SOUND_S = 0.04
"""How long a word sounds on behind the last frame of its last token."""
_NEVER_FIRST = ("Mn", "Mc", "Me", "Pe", "Pf", "Po")  # marks, closing brackets, full stops


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the start of the audio.

    In scripts without spaces between words it is the characters of one token. CTC emits a token at
    a few frames within its sound, so times are good to about 0.1 s.

    ``confidence``, from 0 to 1, is the probability of its least probable token, the geometric mean
    over the frames of that token, at the temperature of the package; None where a search does not
    know it. ``speaker`` is who says it, None where nobody has said so.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float | None = None
    speaker: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its fields for JSON; without ``speaker``, where that is not known."""
        fields = asdict(self)
        if self.speaker is None:
            del fields["speaker"]
        return fields


def timed_words(
    pieces: Sequence[str],
    frames: Sequence[int],
    ends: Sequence[int],
    frame_shift_s: float,
    duration_s: float,
    scores: Sequence[float] = (),
    temperature: float = 1.0,
) -> list[TimedWord]:
    """Group pieces, with their first frames and the frames behind their last, into words.

    A word lasts from its first frame to `SOUND_S` behind its last one, but no longer than to the
    next word or the end of the audio, behind which the last frame may reach. ``scores`` are log
    probabilities of the pieces, if they are known; confidences are `tempered`.
    """
    words: list[TimedWord] = []
    confidences: Sequence[float | None] = [None] * len(pieces)
    if len(scores):
        probabilities = [min(1.0, math.exp(one)) for one in scores]
        confidences = [round(tempered(one, temperature), 4) for one in probabilities]
    for piece, frame, end, confidence in zip(pieces, frames, ends, confidences, strict=True):
        start_s = round(frame * frame_shift_s, 3)
        end_s = round(min(end * frame_shift_s + SOUND_S, duration_s), 3)
        text = piece.removeprefix(WORD_START)
        if words and not piece.startswith(WORD_START) and _continues(words[-1].word, text):
            latest = words.pop()
            if latest.confidence is not None and confidence is not None:
                confidence = min(latest.confidence, confidence)
            words.append(TimedWord(latest.word + text, latest.start_s, end_s, confidence))
        else:
            words.append(TimedWord(text, start_s, end_s, confidence))
    spelt = [word for word in words if word.word]
    for index, (word, following) in enumerate(pairwise(spelt)):
        spelt[index] = replace(word, end_s=min(word.end_s, following.start_s))
    return spelt


def join_words(words: Sequence[str]) -> str:
    """One text of words, without spaces where their script has none."""
    text = ""
    for word in words:
        is_close = text and is_unspaced(text[-1]) and is_unspaced(word[0])
        text += word if is_close or not text else f" {word}"
    return text


def _continues(word: str, text: str) -> bool:
    """Whether ``text``, before which no space stands, belongs to the word before it."""
    if not word or not text or unicodedata.category(text[0]) in _NEVER_FIRST:
        return True
    return not (is_unspaced(word[-1]) or is_unspaced(text[0]))


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The best token sequences of the frames from ``first`` to before ``end``, the best first.

    Frames are counted from the first one of the labels that hold this; ``first`` is negative where
    earlier ones were cut off.
    """

    first: int
    end: int
    sequences: tuple[ScoredTokens, ...]

    def moved(self, num_frames: int) -> Alternatives:
        """The same, where so many more frames stand before."""
        return replace(self, first=self.first + num_frames, end=self.end + num_frames)


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """The best token of every frame (T,) and its log probability (T,), on the CPU.

    ``alternatives`` are those of each chunk of the frames, where a beam was searched.
    """

    scores_T: Tensor
    ids_T: Tensor
    alternatives: tuple[Alternatives, ...] = ()

    def __len__(self) -> int:
        return len(self.ids_T)

    def __getitem__(self, frames: slice) -> FrameLabels:
        first = frames.indices(len(self))[0]
        those = tuple(one.moved(-first) for one in self.alternatives)
        return FrameLabels(self.scores_T[frames], self.ids_T[frames], those)

    def first_ids(self) -> Tensor:
        """(T,) the token of each frame."""
        return self.ids_T

    def joined(self, following: Sequence[FrameLabels]) -> FrameLabels:
        """These frames and then those of ``following``."""
        parts = (self, *following)
        starts = accumulate(map(len, parts), initial=0)
        return FrameLabels(
            scores_T=torch.cat([part.scores_T for part in parts]),
            ids_T=torch.cat([part.ids_T for part in parts]),
            alternatives=tuple(
                one.moved(start)
                for start, part in zip(starts, parts, strict=False)
                for one in part.alternatives
            ),
        )


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
        summed_T = functional.pad(labels.scores_T.double().cumsum(0), (1, 0))
        means = (summed_T[last_frames + 1] - summed_T[frames]) / (last_frames + 1 - frames)
        return Hypothesis(
            token_ids=tuple(ids_T[frames].tolist()),
            token_frames=tuple(frames.tolist()),
            token_ends=tuple((last_frames + 1).tolist()),
            score=float(labels.scores_T.sum()),
            token_scores=tuple(means.tolist()),
        )
