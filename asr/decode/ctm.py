"""Words with times as NIST scoring tools read them: conversation time marks (CTM)."""

from __future__ import annotations

from collections.abc import Sequence

from asr.decode.words import TimedWord

FIRST_CHANNEL = 1


def ctm(name: str, words: Sequence[TimedWord], channel: int = FIRST_CHANNEL) -> str:
    """A line a word: name of the recording, channel, start and length in seconds, word.

    White space in ``name`` separates columns, so it becomes an underscore.
    """
    recording = "_".join(name.split())
    return "".join(
        f"{recording} {channel} {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.word}\n"
        for word in words
    )
