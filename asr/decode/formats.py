"""The forms a transcript can be written in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from asr.decode.ctm import ctm
from asr.decode.subtitles import srt, vtt
from asr.decode.transcribe import Transcript


class Format(NamedTuple):
    """How a transcript is written, and whether those of several files may follow one another."""

    write: Callable[[Transcript], str]
    is_line_by_line: bool


def as_text(transcript: Transcript) -> str:
    """One line."""
    return f"{transcript.text}\n"


def as_json(transcript: Transcript) -> str:
    """One line that holds an object: ``audio_path``, ``duration_s``, ``text`` and ``words``."""
    return json.dumps(asdict(transcript), ensure_ascii=False) + "\n"


FORMATS = {
    "text": Format(as_text, is_line_by_line=True),
    "json": Format(as_json, is_line_by_line=True),
    "srt": Format(lambda transcript: srt(transcript.words), is_line_by_line=False),
    "vtt": Format(lambda transcript: vtt(transcript.words), is_line_by_line=False),
    "ctm": Format(
        lambda transcript: ctm(Path(transcript.audio_path).stem, transcript.words),
        is_line_by_line=True,
    ),
}
"""By name, which is also the ending of a file in the format (``txt`` for ``text``)."""


def suffix(name: str) -> str:
    """Ending of a file in the format ``name``."""
    return ".txt" if name == "text" else f".{name}"
