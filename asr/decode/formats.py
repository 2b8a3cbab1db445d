"""Output formats of transcripts: text, JSON, subtitles (SRT, VTT), CTM, TSV."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import compress, groupby
from pathlib import Path
from typing import NamedTuple

from asr.decode.greedy import TimedWord, join_words
from asr.decode.transcript import Transcript
from asr.text.script import width

PAUSE_S = 1.0
SHORTEST_CUE_S = 1.0


@dataclass(frozen=True, slots=True)
class CueLimits:
    """Limits of a subtitle: columns per line (wide characters count two), lines, and seconds."""

    line_width: int = 42
    num_lines: int = 2
    duration_s: float = 7.0


USUAL = CueLimits()


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: lines, start and end in seconds from the start of the audio, and speaker."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    speaker: str | None = None


def srt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """Write a SubRip file; cues name their channel, if there are several, and their speaker."""
    return "".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n"
        f"{f'[{voice}] ' if (voice := _voice(cue, channel, channels)) else ''}{text(cue)}\n\n"
        for number, (channel, cue) in enumerate(timeline(channels, limits), start=1)
    )


def vtt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """Write a WebVTT file; its voices are the channels, if there are several, or the speakers."""
    shown = (
        f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n"
        f"{f'<v {escape(voice)}>' if (voice := _voice(cue, channel, channels)) else ''}"
        f"{text(cue)}\n\n"
        for channel, cue in timeline(channels, limits)
    )
    return "WEBVTT\n\n" + "".join(shown)


def _voice(cue: Cue, channel: int, channels: Sequence[Sequence[TimedWord]]) -> str:
    """Return a cue's voice: its channel, if there are several, or speaker; empty if unknown."""
    return f"channel {channel}" if len(channels) > 1 else cue.speaker or ""


def timeline(channels: Sequence[Sequence[TimedWord]], limits: CueLimits) -> list[tuple[int, Cue]]:
    """Return the cues of all channels in order of time, each with its channel number, from 1."""
    numbered = [
        (number, cue) for number, words in enumerate(channels, 1) for cue in cues(words, limits)
    ]
    return sorted(numbered, key=lambda pair: (pair[1].start_s, pair[0]))


def cues(words: Sequence[TimedWord], limits: CueLimits = USUAL) -> list[Cue]:
    """Group words into cues, in order and without overlap."""
    groups = list(grouped(words, limits))
    next_starts_s = [*(group[0].start_s for group in groups[1:]), math.inf]
    return [
        Cue(
            start_s=group[0].start_s,
            end_s=max(group[-1].end_s, min(group[0].start_s + SHORTEST_CUE_S, next_s)),
            lines=wrapped(group, limits.line_width),
            speaker=group[0].speaker,
        )
        for group, next_s in zip(groups, next_starts_s, strict=False)
    ]


def grouped(words: Sequence[TimedWord], limits: CueLimits) -> Iterator[list[TimedWord]]:
    """Yield the words of each cue."""
    group: list[TimedWord] = []
    for word in words:
        if group and (
            word.speaker != group[-1].speaker
            or word.start_s - group[-1].end_s >= PAUSE_S
            or word.end_s - group[0].start_s > limits.duration_s
            or len(wrapped([*group, word], limits.line_width)) > limits.num_lines
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def wrapped(words: Sequence[TimedWord], line_width: int) -> tuple[str, ...]:
    """Wrap words into lines; a word longer than a line gets its own line."""
    lines: list[str] = []
    for word in words:
        longer = join_words([*lines[-1:], word.word])
        if lines and width(longer) <= line_width:
            lines[-1] = longer
        else:
            lines.append(word.word)
    return tuple(lines)


def text(cue: Cue) -> str:
    """Join the lines of a cue."""
    return "\n".join(cue.lines)


def clock(time_s: float, decimal_mark: str) -> str:
    """Format a time as ``01:02:03,456``."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal_mark}{milliseconds:03d}"


FIRST_CHANNEL = 1
UNKNOWN = "<NA>"
"""Speaker of words outside all turns, in formats whose lines begin with a speaker."""


def ctm(name: str, words: Sequence[TimedWord], channel: int = FIRST_CHANNEL) -> str:
    """Write a line per word: recording, channel, start, duration in seconds, word, confidence.

    For a word with a speaker, the type ``lex`` and the speaker follow, as in the longer form of
    NIST; an unknown confidence is then ``NA``. White space in ``name`` would separate columns, so
    it becomes an underscore.
    """
    recording = "_".join(name.split())
    return "".join(
        f"{recording} {channel} {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.word}"
        f"{_ctm_rest(word)}\n"
        for word in words
    )


def _ctm_rest(word: TimedWord) -> str:
    known = "" if word.confidence is None else f" {word.confidence:.4f}"
    return known if word.speaker is None else f"{known or ' NA'} lex {word.speaker}"


class Format(NamedTuple):
    """An output format, with its function from the transcripts of a file's channels to text.

    If it ``is_line_by_line``, the output of several files may be concatenated. Only subtitles use
    the limits.
    """

    write: Callable[[Sequence[Transcript], CueLimits], str]
    is_line_by_line: bool
    has_cues: bool = False


def as_text(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """Write one line; or one per channel, if there are several; or one per turn of a speaker.

    The latter two begin with the channel's number or the speaker's name.
    """
    if len(transcripts) == 1 and transcripts[0].has_speakers:
        turns = groupby(transcripts[0].words, key=lambda word: word.speaker)
        return "".join(
            f"{speaker or UNKNOWN}\t{join_words([word.word for word in words])}\n"
            for speaker, words in turns
        )
    if len(transcripts) == 1:
        return f"{transcripts[0].text}\n"
    return "".join(f"channel {one.channel}\t{one.text}\n" for one in transcripts)


def as_json(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """Write a line with a JSON object each: ``audio_path``, ``duration_s``, ``text``, ``words``.

    It also has ``channel`` if channels are not mixed, ``n_best`` after a beam search, and the
    ``speaker`` of words if known.
    """
    lines = []
    for transcript in transcripts:
        words = [word.as_dict() for word in transcript.words]
        fields = {**asdict(transcript), "words": words, "confidence": transcript.confidence}
        if transcript.channel is None:
            del fields["channel"]
        if not transcript.n_best:
            del fields["n_best"]
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    return "".join(lines)


def as_ctm(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """Write conversation time marks (CTM), channel after channel."""
    return "".join(
        ctm(Path(one.audio_path).stem, one.words, one.channel or FIRST_CHANNEL)
        for one in transcripts
    )


def as_tsv(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """Write a table of segments with a header: start and end in milliseconds, text.

    The channel, if there are several, and the speaker, if known, come before the text.
    """
    has_channels = len(transcripts) > 1
    has_speakers = any(one.has_speakers for one in transcripts)
    segments = sorted(
        ((one.channel or 0, segment) for one in transcripts for segment in one.segments),
        key=lambda pair: (pair[1].start_s, pair[1].end_s, pair[0]),
    )
    rows: list[tuple[object, ...]] = [("start", "end", "channel", "speaker", "text")]
    rows += [
        (round(1000 * one.start_s), round(1000 * one.end_s), channel, one.speaker or "", one.text)
        for channel, one in segments
    ]
    kept = (True, True, has_channels, has_speakers, True)
    return "".join("\t".join(map(str, compress(row, kept))) + "\n" for row in rows)


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
"""Formats by name, which is also the file extension (``txt`` for ``text``)."""


def suffix(name: str) -> str:
    """Return the file extension of the format ``name``."""
    return ".txt" if name == "text" else f".{name}"
