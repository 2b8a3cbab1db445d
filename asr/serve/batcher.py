"""A bounded queue of recordings that are transcribed together.

One thread takes the waiting recordings and transcribes them in common batches, the shortest first.
Recordings that arrive meanwhile wait for the next turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic

from asr.audio.memory import AudioInput
from asr.decode.early_words import FinalWords
from asr.decode.greedy import TimedWord
from asr.decode.transcribe import Transcriber
from asr.decode.transcript import Transcript
from asr.errors import InputError, RunError

Hotwords = tuple[str, ...]
_MOST_AT_ONCE = 64


class FullError(Exception):
    """The queue is full; there may be room after ``retry_after_s`` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class QueuedRecording:
    """A waiting recording; ``future`` gets its transcript, or the error.

    Another thread calls ``heard`` with final words before the transcript is complete.
    """

    audio: AudioInput
    duration_s: float
    hotwords: Hotwords
    heard: Callable[[Sequence[TimedWord]], None] | None = None
    future: Future[Transcript] = field(default_factory=Future)
    is_wanted: bool = True

    def drop(self) -> None:
        """Stop reading the audio, as nobody waits for the transcript any more."""
        self.is_wanted = False
        self.future.cancel()


@dataclass(slots=True)
class Counts:
    """Counts since the start."""

    num_done: int = 0
    num_failed: int = 0
    num_refused: int = 0
    num_batches: int = 0
    audio_s: float = 0.0
    busy_s: float = 0.0


class Batcher:
    """A thread that transcribes waiting jobs together, turn after turn.

    Args:
        transcriber_of: returns the transcriber for some hotwords; raises InputError if the model
            cannot use hotwords.
        max_waiting: most waiting jobs; further ones are refused.
    """

    def __init__(
        self, transcriber_of: Callable[[Hotwords], Transcriber], *, max_waiting: int
    ) -> None:
        self.transcriber_of = transcriber_of
        self.max_waiting = max_waiting
        self.counts = Counts()
        self._waiting: list[QueuedRecording] = []
        self._changed = Condition()
        self._is_open = True
        self._thread = Thread(target=self._work, name="transcriber", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._waiting)

    def submit(self, job: QueuedRecording) -> None:
        """Add a job to the queue.

        Raises:
            FullError: the queue is full, or the server stops.
        """
        with self._changed:
            if len(self._waiting) >= self.max_waiting or not self._is_open:
                self.counts.num_refused += 1
                raise FullError(self._retry_after_s())
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Refuse new jobs, and wait until the accepted ones are done."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def _retry_after_s(self) -> int:
        counts = self.counts
        speed = counts.audio_s / counts.busy_s if counts.busy_s else 10.0
        waiting_s = sum(job.duration_s for job in self._waiting) / max(speed, 0.1)
        return max(1, min(60, math.ceil(waiting_s)))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._waiting:
                    return
                jobs = self._next_turn()
            begun_s = monotonic()
            self._transcribe([job for job in jobs if job.future.set_running_or_notify_cancel()])
            self.counts.busy_s += monotonic() - begun_s
            self.counts.num_batches += 1

    def _next_turn(self) -> list[QueuedRecording]:
        """Take the waiting jobs with the same hotwords as the first, the shortest first."""
        hotwords = self._waiting[0].hotwords
        jobs = [job for job in self._waiting if job.hotwords == hotwords][:_MOST_AT_ONCE]
        self._waiting = [job for job in self._waiting if job not in jobs]
        return sorted(jobs, key=lambda job: job.duration_s)

    def _transcribe(self, jobs: Sequence[QueuedRecording]) -> None:
        if not jobs:
            return
        left = list(jobs)

        def send_words(found: FinalWords) -> None:
            job = jobs[found.recording]
            if job.heard is not None and job.is_wanted:
                job.heard(found.words)

        try:
            transcriber = self.transcriber_of(jobs[0].hotwords)
            for found in transcriber.each(
                [job.audio for job in jobs],
                heard=send_words if any(job.heard for job in jobs) else None,
                is_wanted=lambda number: jobs[number].is_wanted,
            ):
                job = left.pop(0)
                if isinstance(found, InputError):
                    self.counts.num_failed += job.is_wanted
                    job.future.set_exception(found)
                else:
                    self.counts.num_done += 1
                    self.counts.audio_s += found[0].duration_s
                    job.future.set_result(found[0])
        except Exception as error:  # whatever happens, no client may wait for ever
            self.counts.num_failed += len(left)
            known = isinstance(error, InputError | RunError)
            for job in left:
                job.future.set_exception(error if known else RunError(f"failed ({error})"))
