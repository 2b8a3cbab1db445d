"""Transcripts: text, segments and words with their times."""

from __future__ import annotations

from dataclasses import dataclass

from asr.decode.greedy import TimedWord, join_words

SEGMENT_PAUSE_S = 0.6
LONGEST_SEGMENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Words of one speaker without a long pause; times in seconds from the start of the audio.

    ``speaker`` is None if unknown.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[TimedWord, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A text in a beam: ``acoustic`` is its log probability by the recogniser.

    ``score`` includes language models and hotwords.
    """

    text: str
    score: float
    acoustic: float


@dataclass(frozen=True, slots=True)
class NBest:
    """The best texts of a chunk of the audio, the best first; times in seconds."""

    start_s: float
    end_s: float
    texts: tuple[ScoredText, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a file, or of one ``channel`` of it; None if channels are mixed.

    ``n_best`` has the best texts of each chunk after a beam search; otherwise it is empty.
    """

    audio_path: str
    duration_s: float
    text: str
    words: tuple[TimedWord, ...]
    channel: int | None = None
    n_best: tuple[NBest, ...] = ()

    @property
    def confidence(self) -> float | None:
        """Mean of the words' confidences; None if they are unknown or there are no words."""
        known = [word.confidence for word in self.words if word.confidence is not None]
        return sum(known) / len(known) if known else None

    @property
    def has_speakers(self) -> bool:
        """Whether any word has a speaker."""
        return any(word.speaker is not None for word in self.words)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The words in segments, which end at a change of speaker, a pause or the longest length.

        See `SEGMENT_PAUSE_S` and `LONGEST_SEGMENT_S`.
        """
        groups: list[list[TimedWord]] = []
        for word in self.words:
            if (
                not groups
                or word.speaker != groups[-1][-1].speaker
                or word.start_s - groups[-1][-1].end_s >= SEGMENT_PAUSE_S
                or word.end_s - groups[-1][0].start_s > LONGEST_SEGMENT_S
            ):
                groups.append([])
            groups[-1].append(word)
        return tuple(
            Segment(
                group[0].start_s,
                group[-1].end_s,
                join_words([word.word for word in group]),
                tuple(group),
                group[0].speaker,
            )
            for group in groups
        )
