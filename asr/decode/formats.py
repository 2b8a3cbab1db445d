"""The forms a transcript can be written in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from asr.decode.ctm import FIRST_CHANNEL, ctm
from asr.decode.subtitles import srt, vtt
from asr.decode.transcribe import Transcript


class Format(NamedTuple):
    """How the transcripts of a file are written, one or one of each of its channels.

    Those of several files may follow one another where it ``is_line_by_line``.
    """

    write: Callable[[Sequence[Transcript]], str]
    is_line_by_line: bool


def as_text(transcripts: Sequence[Transcript]) -> str:
    """One line; of several channels a line of each, which begins with its number."""
    if len(transcripts) == 1:
        return f"{transcripts[0].text}\n"
    return "".join(f"channel {one.channel}\t{one.text}\n" for one in transcripts)


def as_json(transcripts: Sequence[Transcript]) -> str:
    """A line for each that holds an object: ``audio_path``, ``duration_s``, ``text``, ``words``.

    And ``channel``, where channels are not mixed.
    """
    lines = []
    for transcript in transcripts:
        fields = asdict(transcript)
        if transcript.channel is None:
            del fields["channel"]
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    return "".join(lines)


def as_ctm(transcripts: Sequence[Transcript]) -> str:
    """Conversation time marks, channel after channel."""
    return "".join(
        ctm(Path(one.audio_path).stem, one.words, one.channel or FIRST_CHANNEL)
        for one in transcripts
    )


FORMATS = {
    "text": Format(as_text, is_line_by_line=True),
    "json": Format(as_json, is_line_by_line=True),
    "srt": Format(lambda those: srt([one.words for one in those]), is_line_by_line=False),
    "vtt": Format(lambda those: vtt([one.words for one in those]), is_line_by_line=False),
    "ctm": Format(as_ctm, is_line_by_line=True),
}
"""By name, which is also the ending of a file in the format (``txt`` for ``text``)."""


def suffix(name: str) -> str:
    """Ending of a file in the format ``name``."""
    return ".txt" if name == "text" else f".{name}"
