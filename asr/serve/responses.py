"""Answers in the shapes of OpenAI's transcription API."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from asr.decode.formats import srt, vtt
from asr.decode.greedy import TimedWord
from asr.decode.transcript import Transcript

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("segment", "word")


def usage(transcript: Transcript) -> dict[str, Any]:
    """What is counted: seconds of audio."""
    return {"type": "duration", "seconds": transcript.duration_s}


def json_body(transcript: Transcript) -> dict[str, Any]:
    """``json``: the text."""
    return {"text": transcript.text, "usage": usage(transcript)}


def as_verbose_json(transcript: Transcript, language: str, with_words: bool) -> dict[str, Any]:
    """``verbose_json``: segments with times, and words if they are asked for.

    Clients drop segments by numbers. ``avg_logprob`` is the mean log confidence of the words; what
    only models of other kinds have is neutral.
    """
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": transcript.duration_s,
        "text": transcript.text,
        "segments": [
            {
                "id": number,
                "seek": 0,
                "start": segment.start_s,
                "end": segment.end_s,
                "text": segment.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": mean_log_confidence(segment.words),
                "compression_ratio": compression_ratio(segment.text),
                "no_speech_prob": 0.0,
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "usage": usage(transcript),
    }
    if with_words:
        found["words"] = [
            {"word": word.word, "start": word.start_s, "end": word.end_s}
            for word in transcript.words
        ]
    return found


def mean_log_confidence(words: Sequence[TimedWord]) -> float:
    """The mean natural logarithm of confidences, at least -10; 0 where they are not known."""
    known = [math.log(max(one.confidence, 4.54e-5)) for one in words if one.confidence is not None]
    return round(sum(known) / len(known), 4) if known else 0.0


def compression_ratio(text: str) -> float:
    """Bytes of a text over those that zlib makes of it."""
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 4)


def as_plain(transcript: Transcript, kind: str) -> str:
    """``text``, ``srt`` or ``vtt``."""
    if kind == "text":
        return f"{transcript.text}\n"
    return srt([transcript.words]) if kind == "srt" else vtt([transcript.words])


def event(data: dict[str, Any]) -> str:
    """One event, as server-sent events are written."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def error(message: str, *, kind: str = "invalid_request_error", param: str | None = None) -> Any:
    """The body of an answer that is an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}
