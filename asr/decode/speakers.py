"""Speakers of words, from the speaker turns that diarization programs write as RTTM.

A turn is a line of RTTM (NIST, The 2009 Rich Transcription Evaluation Plan, appendix A):
``SPEAKER recording channel start duration <NA> <NA> name <NA> <NA>``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr.decode.greedy import TimedWord
from asr.decode.transcript import Transcript
from asr.errors import InputError
from asr.files import read_lines
from asr.ranges import shown

NEAR_S = 1.0
"""A word outside all turns belongs to the nearest turn within this distance."""
_TURN = "SPEAKER"
_NUM_FIELDS = 8  # with the name as the last


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of ``speaker``; start and end in seconds from the start of the audio."""

    start_s: float
    end_s: float
    speaker: str


def read_rttm(path: Path) -> Mapping[str, Sequence[Turn]]:
    """Read the turns of each recording of an RTTM file, in order; skip lines of other types.

    Raises:
        InputError: the file cannot be read, or a turn has no name, start or duration.
    """
    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    for place, line in read_lines(path):
        fields = line.split()
        if not fields or fields[0] != _TURN:
            continue
        times = [_seconds(one) for one in fields[3:5]]
        if len(fields) < _NUM_FIELDS or None in times:
            raise InputError(
                f"{place}: {shown(line)}; allowed: {_TURN} recording channel start duration <NA> "
                "<NA> name, times in seconds"
            )
        start_s, duration_s = (one or 0.0 for one in times)
        turns[fields[1]].append(Turn(start_s, start_s + duration_s, fields[7]))
    if not turns:
        raise InputError(f"{path}: has no line that begins with {_TURN}; allowed: an RTTM file")
    for those in turns.values():
        those.sort(key=lambda turn: turn.start_s)
    return turns


def turns_of(turns: Mapping[str, Sequence[Turn]], recording: Path) -> Sequence[Turn]:
    """Return a recording's turns; RTTM names it without file extension and white space."""
    for name in (recording.stem, recording.name):
        if found := turns.get("_".join(name.split())):
            return found
    return []


def with_speakers(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """Return the transcript with a speaker for each word that has one in ``turns`` (by start).

    The speaker is the one with the largest overlap; among equal ones, the one who began first. A
    word outside all turns belongs to the nearest within `NEAR_S`.
    """
    words: list[TimedWord] = []
    near: list[Turn] = []
    num_seen = 0
    for word in transcript.words:
        while num_seen < len(turns) and turns[num_seen].start_s <= word.end_s + NEAR_S:
            near.append(turns[num_seen])
            num_seen += 1
        near = [turn for turn in near if turn.end_s >= word.start_s - NEAR_S]
        words.append(replace(word, speaker=_speaker(word, near)))
    return replace(transcript, words=tuple(words))


def _speaker(word: TimedWord, near: Sequence[Turn]) -> str | None:
    shared_s: defaultdict[str, float] = defaultdict(float)
    for turn in near:
        shared_s[turn.speaker] += max(0.0, _overlap_s(word, turn))
    if any(shared_s.values()):
        return max(shared_s, key=lambda speaker: shared_s[speaker])
    nearest = max(near, key=lambda turn: _overlap_s(word, turn), default=None)
    if nearest is None or _overlap_s(word, nearest) < -NEAR_S:
        return None
    return nearest.speaker


def _overlap_s(word: TimedWord, turn: Turn) -> float:
    """Return the seconds that a word and a turn share; if negative, the distance between them."""
    return min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)


def _seconds(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
