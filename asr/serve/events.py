"""Events of ``stream=true``: parts of the text while a recording is decoded, then the whole text.

They are server-sent events in the format of OpenAI's ``transcript.text.delta`` and
``transcript.text.done``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

from asr.decode.greedy import TimedWord, join_words
from asr.decode.transcript import Transcript
from asr.errors import InputError, RunError
from asr.serve.batcher import Batcher, QueuedRecording
from asr.serve.responses import error, event, usage


class Deltas:
    """The parts of a transcript's text, one after another; joined, they equal the transcript."""

    def __init__(self) -> None:
        self.sent = ""
        self._num_words = 0

    def add(self, words: Sequence[TimedWord]) -> str:
        """Return the part of the text for the next words."""
        self._num_words += len(words)
        before = self.sent[-1:]
        delta = join_words([*([before] if before else []), *(word.word for word in words)])
        return self._append(delta[len(before) :])

    def rest(self, transcript: Transcript) -> str:
        """Return the remaining text of a transcript; empty if there is none."""
        if transcript.text.startswith(self.sent):
            return self._append(transcript.text[len(self.sent) :])
        return self.add(transcript.words[self._num_words :])

    def _append(self, delta: str) -> str:
        self.sent += delta
        return delta


WordQueue: TypeAlias = "asyncio.Queue[Sequence[TimedWord] | None]"
"""Words in order, then None once there is a transcript or an error."""


def events(job: QueuedRecording, batcher: Batcher) -> AsyncIterator[str]:
    """Submit a job and return its events; the last one may be an error.

    If they are closed early, for example by a disconnected client, the job is dropped.

    Raises:
        FullError: the queue is full.
    """
    loop = asyncio.get_running_loop()
    queue: WordQueue = asyncio.Queue()

    def put(words: Sequence[TimedWord] | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, words)

    job.heard = put
    job.future.add_done_callback(lambda _: put(None))
    batcher.submit(job)
    return _events(job, queue)


async def _events(job: QueuedRecording, queue: WordQueue) -> AsyncIterator[str]:
    deltas = Deltas()
    try:
        while (words := await queue.get()) is not None:
            yield _delta(deltas.add(words))
        try:
            transcript = job.future.result()
        except (InputError, RunError) as problem:
            kind = "server_error" if isinstance(problem, RunError) else "invalid_request_error"
            yield event(error(str(problem), kind=kind))
            return
        if rest := deltas.rest(transcript):
            yield _delta(rest)
        yield event(
            {"type": "transcript.text.done", "text": transcript.text, "usage": usage(transcript)}
        )
    finally:
        job.drop()


def _delta(text: str) -> str:
    return event({"type": "transcript.text.delta", "delta": text})
