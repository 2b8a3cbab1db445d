"""Progress of a transcription: seconds and recordings done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio.memory import AudioInput, Samples, as_audio
from asr.audio.read import probe_audio
from asr.errors import InputError


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a call: ``done_s`` seconds of audio and ``num_done`` recordings.

    The totals are None if unknown, for example the length of a pipe. If channels are split, seconds
    count each channel.
    """

    done_s: float
    total_s: float | None
    num_done: int
    num_all: int | None


class Meter:
    """A counter of finished audio and recordings that reports to ``progress``."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None,
        recordings: Iterable[AudioInput],
        split: bool,
    ) -> None:
        self._progress = progress
        self._done_s = 0.0
        self._num_done = 0
        self._num_all = len(recordings) if isinstance(recordings, Sequence) else None
        self._total_s: float | None = None
        if progress is not None and isinstance(recordings, Sequence):
            lengths_s = [_length_s(audio, split) for audio in recordings]
            if None not in lengths_s:
                self._total_s = sum(length or 0.0 for length in lengths_s)

    def add(self, seconds: float) -> None:
        """Count seconds of audio, up to the total: overlapping chunks may add up to more."""
        self._done_s += seconds
        if self._total_s is not None:
            self._done_s = min(self._done_s, self._total_s)
        self._report()

    def end_recording(self) -> None:
        """Count a finished recording."""
        self._num_done += 1
        if self._num_done == self._num_all and self._total_s is not None:
            self._done_s = self._total_s
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(Progress(self._done_s, self._total_s, self._num_done, self._num_all))


def _length_s(audio: AudioInput, split: bool) -> float | None:
    """Return the seconds to decode: 0 if the audio is unreadable, None if unknown."""
    try:
        readable = as_audio(audio)
        if isinstance(readable, Path) and not readable.is_file():
            return None
        info = readable if isinstance(readable, Samples) else probe_audio(readable, strict=False)
    except InputError:
        return 0.0
    return info.duration_s * (info.num_channels if split else 1)
