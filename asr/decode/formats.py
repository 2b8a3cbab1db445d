"""Output formats of transcripts: text, JSON, subtitles (SRT, VTT), CTM, TSV."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from asr.decode.greedy import TimedWord, join_words
from asr.decode.transcript import Transcript
from asr.text.script import width

PAUSE_S = 1.0
SHORTEST_CUE_S = 1.0


@dataclass(frozen=True, slots=True)
class CueLimits:
    """The most of a subtitle: columns of a line (two of a wide character), lines, and seconds."""

    line_width: int = 42
    num_lines: int = 2
    duration_s: float = 7.0


USUAL = CueLimits()


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: its lines, start and end in seconds from the start of the audio."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def srt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """A SubRip file, empty without words; of several channels each cue names its own."""
    return "".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n"
        f"{f'[channel {channel}] ' if len(channels) > 1 else ''}{text(cue)}\n\n"
        for number, (channel, cue) in enumerate(timeline(channels, limits), start=1)
    )


def vtt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """A WebVTT file; several channels are its voices."""
    shown = (
        f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n"
        f"{f'<v channel {channel}>' if len(channels) > 1 else ''}{text(cue)}\n\n"
        for channel, cue in timeline(channels, limits)
    )
    return "WEBVTT\n\n" + "".join(shown)


def timeline(channels: Sequence[Sequence[TimedWord]], limits: CueLimits) -> list[tuple[int, Cue]]:
    """The cues of all channels in order of time, each with its channel number, from 1."""
    numbered = [
        (number, cue) for number, words in enumerate(channels, 1) for cue in cues(words, limits)
    ]
    return sorted(numbered, key=lambda pair: (pair[1].start_s, pair[0]))


def cues(words: Sequence[TimedWord], limits: CueLimits = USUAL) -> list[Cue]:
    """Words in cues, in order; no two overlap."""
    groups = list(grouped(words, limits))
    next_starts_s = [*(group[0].start_s for group in groups[1:]), math.inf]
    return [
        Cue(
            start_s=group[0].start_s,
            end_s=max(group[-1].end_s, min(group[0].start_s + SHORTEST_CUE_S, next_s)),
            lines=wrapped(group, limits.line_width),
        )
        for group, next_s in zip(groups, next_starts_s, strict=False)
    ]


def grouped(words: Sequence[TimedWord], limits: CueLimits) -> Iterator[list[TimedWord]]:
    """The words of each cue."""
    group: list[TimedWord] = []
    for word in words:
        if group and (
            word.start_s - group[-1].end_s >= PAUSE_S
            or word.end_s - group[0].start_s > limits.duration_s
            or len(wrapped([*group, word], limits.line_width)) > limits.num_lines
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def wrapped(words: Sequence[TimedWord], line_width: int) -> tuple[str, ...]:
    """The words in lines; a word longer than a line has one of its own."""
    lines: list[str] = []
    for word in words:
        longer = join_words([*lines[-1:], word.word])
        if lines and width(longer) <= line_width:
            lines[-1] = longer
        else:
            lines.append(word.word)
    return tuple(lines)


def text(cue: Cue) -> str:
    """The lines of a cue, one below the other."""
    return "\n".join(cue.lines)


def clock(time_s: float, decimal_mark: str) -> str:
    """``01:02:03,456``."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal_mark}{milliseconds:03d}"


FIRST_CHANNEL = 1


def ctm(name: str, words: Sequence[TimedWord], channel: int = FIRST_CHANNEL) -> str:
    """A line a word: name of the recording, channel, start and length in seconds, word, confidence.

    White space in ``name`` separates columns, so it becomes an underscore.
    """
    recording = "_".join(name.split())
    return "".join(
        f"{recording} {channel} {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.word}"
        f"{'' if word.confidence is None else f' {word.confidence:.4f}'}\n"
        for word in words
    )


class Format(NamedTuple):
    """How the transcripts of a file are written, one or one of each of its channels.

    Those of several files may follow one another where it ``is_line_by_line``. Subtitles keep to
    limits, the other formats have no use for them.
    """

    write: Callable[[Sequence[Transcript], CueLimits], str]
    is_line_by_line: bool
    has_cues: bool = False


def as_text(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """One line; of several channels a line of each, which begins with its number."""
    if len(transcripts) == 1:
        return f"{transcripts[0].text}\n"
    return "".join(f"channel {one.channel}\t{one.text}\n" for one in transcripts)


def as_json(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """A line for each that holds an object: ``audio_path``, ``duration_s``, ``text``, ``words``.

    And ``channel``, where channels are not mixed, and ``n_best``, where a beam was searched.
    """
    lines = []
    for transcript in transcripts:
        fields = {**asdict(transcript), "confidence": transcript.confidence}
        if transcript.channel is None:
            del fields["channel"]
        if not transcript.n_best:
            del fields["n_best"]
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    return "".join(lines)


def as_ctm(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """Conversation time marks, channel after channel."""
    return "".join(
        ctm(Path(one.audio_path).stem, one.words, one.channel or FIRST_CHANNEL)
        for one in transcripts
    )


def as_tsv(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """A table of segments: start and end in milliseconds, text; with a head line."""
    several = len(transcripts) > 1
    rows = sorted(
        (round(1000 * segment.start_s), round(1000 * segment.end_s), one.channel or 0, segment.text)
        for one in transcripts
        for segment in one.segments
    )
    head = "start\tend\tchannel\ttext\n" if several else "start\tend\ttext\n"
    return head + "".join(
        f"{start}\t{end}\t{channel}\t{text}\n" if several else f"{start}\t{end}\t{text}\n"
        for start, end, channel, text in rows
    )


FORMATS = {
    "text": Format(as_text, is_line_by_line=True),
    "json": Format(as_json, is_line_by_line=True),
    "srt": Format(
        lambda those, limits: srt([one.words for one in those], limits),
        is_line_by_line=False,
        has_cues=True,
    ),
    "vtt": Format(
        lambda those, limits: vtt([one.words for one in those], limits),
        is_line_by_line=False,
        has_cues=True,
    ),
    "ctm": Format(as_ctm, is_line_by_line=True),
    "tsv": Format(as_tsv, is_line_by_line=False),
}
"""By name, which is also the ending of a file in the format (``txt`` for ``text``)."""


def suffix(name: str) -> str:
    """Ending of a file in the format ``name``."""
    return ".txt" if name == "text" else f".{name}"
