"""Responses in the formats of OpenAI's transcription API."""

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
    """Return the usage: seconds of audio."""
    return {"type": "duration", "seconds": transcript.duration_s}


def json_body(transcript: Transcript) -> dict[str, Any]:
    """Return the body of format ``json``: the text."""
    return {"text": transcript.text, "usage": usage(transcript)}


def as_verbose_json(transcript: Transcript, language: str, with_words: bool) -> dict[str, Any]:
    """Return the body of format ``verbose_json``: segments with times, and words on request.

    Clients filter segments by their numbers. ``avg_logprob`` is the mean log confidence of the
    words; numbers that this kind of model does not have get neutral values.
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
    """Return the mean natural logarithm of confidences, at least -10; 0 if unknown."""
    known = [math.log(max(one.confidence, 4.54e-5)) for one in words if one.confidence is not None]
    return round(sum(known) / len(known), 4) if known else 0.0


def compression_ratio(text: str) -> float:
    """Return the ratio of a text's bytes to its bytes compressed by zlib."""
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 4)


def as_plain(transcript: Transcript, kind: str) -> str:
    """Return the body of format ``text``, ``srt`` or ``vtt``."""
    if kind == "text":
        return f"{transcript.text}\n"
    return srt([transcript.words]) if kind == "srt" else vtt([transcript.words])


def event(data: dict[str, Any]) -> str:
    """Format a server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def error(message: str, *, kind: str = "invalid_request_error", param: str | None = None) -> Any:
    """Return the body of an error response."""
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}
