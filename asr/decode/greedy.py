"""Greedy CTC decoding (Graves et al. 2006, section 3.2), and words with times."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from asr.metrics.confidence import tempered
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START
from asr.types import Hypothesis, ScoredTokens

if TYPE_CHECKING:
    from asr.decode.online import OnlineSearch

SOUND_S = 0.04
"""Seconds that a word lasts after the last frame of its last token."""
_NEVER_FIRST = ("Mn", "Mc", "Me", "Pe", "Pf", "Po")  # marks, closing brackets, full stops


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the start of the audio.

    In scripts without spaces it holds the characters of one token. CTC emits a token in a few
    frames within its sound, so times are accurate to about 0.1 s.

    ``confidence``, from 0 to 1, is the probability of the word's least probable token: the
    geometric mean over the token's frames, at the package's temperature. It is None if the search
    does not compute it. ``speaker`` is None if unknown.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float | None = None
    speaker: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, without an unknown ``speaker``."""
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
    """Group pieces into words, by their first frames ``frames`` and end frames ``ends``.

    A word lasts from its first frame to `SOUND_S` after its last one, but not beyond the next word
    or the end of the audio (the last frame may extend beyond the audio). ``scores`` are log
    probabilities of the pieces, if known; confidences are `tempered`.
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
    """Join words to one text, without spaces in scripts that have none."""
    text = ""
    for word in words:
        is_close = text and is_unspaced(text[-1]) and is_unspaced(word[0])
        text += word if is_close or not text else f" {word}"
    return text


def _continues(word: str, text: str) -> bool:
    """Return whether ``text``, which has no space before it, continues ``word``."""
    if not word or not text or unicodedata.category(text[0]) in _NEVER_FIRST:
        return True
    return not (is_unspaced(word[-1]) or is_unspaced(text[0]))


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The best token sequences of frames ``first`` to ``end`` (exclusive), the best first.

    Frames count from the start of the labels that hold this object; ``first`` is negative if
    earlier frames were cut off.
    """

    first: int
    end: int
    sequences: tuple[ScoredTokens, ...]

    def moved(self, num_frames: int) -> Alternatives:
        """Return the same for labels with ``num_frames`` more frames in front."""
        return replace(self, first=self.first + num_frames, end=self.end + num_frames)


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """The best token of every frame (T,) and its log probability (T,), on the CPU.

    After a beam search, ``alternatives`` holds the best sequences of each chunk.
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
        """Token of each frame (T,)."""
        return self.ids_T

    def joined(self, following: Sequence[FrameLabels]) -> FrameLabels:
        """Return these frames, then those of ``following``."""
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
    """Search that removes repeats, then blanks, from the best path."""

    def __init__(self, *, blank_id: int = 0) -> None:
        self.blank_id = blank_id

    def __call__(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
        """Return one hypothesis per utterance; frames after its end are ignored."""
        return [self.collapse(labels) for labels in self.label(log_probs_BTV, lengths_B)]

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """Return the best path of each utterance."""
        scores_BT, ids_BT = log_probs_BTV.max(-1)
        scores_BT, ids_BT = scores_BT.cpu(), ids_BT.cpu()
        return [
            FrameLabels(scores_BT[row, :length], ids_BT[row, :length])
            for row, length in enumerate(lengths_B.tolist())
        ]

    def online(self) -> OnlineSearch:
        """Return a search of a new stream; see `asr.decode.online`."""
        return OnlineGreedy(self)

    def blanks(self, num_frames: int) -> FrameLabels:
        """Return a path of blanks."""
        return FrameLabels(torch.zeros(num_frames), torch.full((num_frames,), self.blank_id))

    def collapse(self, labels: FrameLabels) -> Hypothesis:
        """Collapse a path to its hypothesis."""
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


class OnlineGreedy:
    """The best path of one stream; see `asr.decode.online.OnlineSearch`."""

    def __init__(self, search: GreedyDecoder) -> None:
        self._search = search
        self._labels = search.blanks(0)

    def advance(self, log_probs_TV: Tensor) -> None:
        """Append the best tokens of more frames."""
        (labels,) = self._search.label(log_probs_TV[None], torch.tensor([len(log_probs_TV)]))
        self._labels = self._labels.joined([labels])

    def best(self) -> Hypothesis:
        """Return the hypothesis of the best path."""
        return self._search.collapse(self._labels)

    path = best

    def labels(self, num_frames: int) -> FrameLabels:
        """Return the best path of the first ``num_frames``."""
        return self._labels[:num_frames]
