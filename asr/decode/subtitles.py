"""Subtitles from words with times: SubRip (SRT) and WebVTT.

A cue is at most two lines of 42 columns and seven seconds long, as broadcasters have it (an East
Asian character takes two columns); a pause of a second ends one, and the last word of a cue stays
readable for a second where nothing follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr.decode.words import TimedWord, join_words
from asr.text.script import width

LINE_WIDTH = 42
CUE_LINES = 2
LONGEST_CUE_S = 7.0
PAUSE_S = 1.0
SHORTEST_CUE_S = 1.0


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown at once, and when, in seconds from the start of the audio."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def srt(channels: Sequence[Sequence[TimedWord]]) -> str:
    """The cues of a SubRip file; empty without words. Of several channels each names its own."""
    return "".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n"
        f"{f'[channel {channel}] ' if len(channels) > 1 else ''}{text(cue)}\n\n"
        for number, (channel, cue) in enumerate(timeline(channels), start=1)
    )


def vtt(channels: Sequence[Sequence[TimedWord]]) -> str:
    """A WebVTT file; several channels are its voices."""
    shown = (
        f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n"
        f"{f'<v channel {channel}>' if len(channels) > 1 else ''}{text(cue)}\n\n"
        for channel, cue in timeline(channels)
    )
    return "WEBVTT\n\n" + "".join(shown)


def timeline(channels: Sequence[Sequence[TimedWord]]) -> list[tuple[int, Cue]]:
    """The cues of all channels by time, each with the number of its channel, from 1."""
    numbered = [(number, cue) for number, words in enumerate(channels, 1) for cue in cues(words)]
    return sorted(numbered, key=lambda pair: (pair[1].start_s, pair[0]))


def cues(words: Sequence[TimedWord]) -> list[Cue]:
    """Words in cues, in order; no two overlap."""
    groups = list(grouped(words))
    next_starts_s = [*(group[0].start_s for group in groups[1:]), math.inf]
    return [
        Cue(
            start_s=group[0].start_s,
            end_s=max(group[-1].end_s, min(group[0].start_s + SHORTEST_CUE_S, next_s)),
            lines=wrapped(group),
        )
        for group, next_s in zip(groups, next_starts_s, strict=False)
    ]


def grouped(words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    """The words of each cue."""
    group: list[TimedWord] = []
    for word in words:
        if group and (
            word.start_s - group[-1].end_s >= PAUSE_S
            or word.end_s - group[0].start_s > LONGEST_CUE_S
            or len(wrapped([*group, word])) > CUE_LINES
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def wrapped(words: Sequence[TimedWord]) -> tuple[str, ...]:
    """The words in lines; a word longer than a line has one of its own."""
    lines: list[str] = []
    for word in words:
        longer = join_words([*lines[-1:], word.word])
        if lines and width(longer) <= LINE_WIDTH:
            lines[-1] = longer
        else:
            lines.append(word.word)
    return tuple(lines)


def text(cue: Cue) -> str:
    """Its lines, one below the other."""
    return "\n".join(cue.lines)


def clock(time_s: float, decimal_mark: str) -> str:
    """``01:02:03,456``."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal_mark}{milliseconds:03d}"
