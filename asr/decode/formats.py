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
    """The most of a subtitle: columns of a line (two of a wide character), lines, and seconds."""

    line_width: int = 42
    num_lines: int = 2
    duration_s: float = 7.0


USUAL = CueLimits()


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: its lines, start and end in seconds from the start of the audio, and speaker."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    speaker: str | None = None


def srt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """A SubRip file, empty without words; each cue names its channel of several, and speaker."""
    return "".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n"
        f"{f'[{voice}] ' if (voice := _voice(cue, channel, channels)) else ''}{text(cue)}\n\n"
        for number, (channel, cue) in enumerate(timeline(channels, limits), start=1)
    )


def vtt(channels: Sequence[Sequence[TimedWord]], limits: CueLimits = USUAL) -> str:
    """A WebVTT file; several channels, or the speakers, are its voices."""
    shown = (
        f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n"
        f"{f'<v {escape(voice)}>' if (voice := _voice(cue, channel, channels)) else ''}"
        f"{text(cue)}\n\n"
        for channel, cue in timeline(channels, limits)
    )
    return "WEBVTT\n\n" + "".join(shown)


def _voice(cue: Cue, channel: int, channels: Sequence[Sequence[TimedWord]]) -> str:
    """Whose a cue is: a channel of several, or a speaker; empty where that is not known."""
    return f"channel {channel}" if len(channels) > 1 else cue.speaker or ""


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
            speaker=group[0].speaker,
        )
        for group, next_s in zip(groups, next_starts_s, strict=False)
    ]


def grouped(words: Sequence[TimedWord], limits: CueLimits) -> Iterator[list[TimedWord]]:
    """The words of each cue."""
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
UNKNOWN = "<NA>"
"""The speaker of words that no turn has, where lines begin with speakers."""


def ctm(name: str, words: Sequence[TimedWord], channel: int = FIRST_CHANNEL) -> str:
    """A line a word: name of the recording, channel, start and length in seconds, word, confidence.

    Of a word with a speaker, the type ``lex`` and the speaker follow, as in the longer form of
    NIST; a confidence that is not known is then ``NA``. White space in ``name`` separates columns,
    so it becomes an underscore.
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
    """How the transcripts of a file are written, one or one of each of its channels.

    Those of several files may follow one another where it ``is_line_by_line``. Subtitles keep to
    limits, the other formats have no use for them.
    """

    write: Callable[[Sequence[Transcript], CueLimits], str]
    is_line_by_line: bool
    has_cues: bool = False


def as_text(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """One line; of several channels a line of each, and of known speakers a line of each turn.

    They begin with the number of the channel, or the name of the speaker.
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
    """A line for each that holds an object: ``audio_path``, ``duration_s``, ``text``, ``words``.

    And ``channel``, where channels are not mixed, ``n_best``, where a beam was searched, and the
    ``speaker`` of words, where it is known.
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
    """Conversation time marks, channel after channel."""
    return "".join(
        ctm(Path(one.audio_path).stem, one.words, one.channel or FIRST_CHANNEL)
        for one in transcripts
    )


def as_tsv(transcripts: Sequence[Transcript], limits: CueLimits = USUAL) -> str:
    """A table of segments: start and end in milliseconds, text; with a head line.

    Before the text stand the channel, where there are several, and the speaker, where it is known.
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
"""By name, which is also the ending of a file in the format (``txt`` for ``text``)."""


def suffix(name: str) -> str:
    """Ending of a file in the format ``name``."""
    return ".txt" if name == "text" else f".{name}"
