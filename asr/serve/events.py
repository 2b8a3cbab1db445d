"""The events of ``stream=true``: pieces of the text while a recording is decoded, then all of it.

They have the shapes of OpenAI's ``transcript.text.delta`` and ``transcript.text.done``, as
server-sent events.
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
    """What to add to the text that was said so far; all together they make up the transcript."""

    def __init__(self) -> None:
        self.said = ""
        self._num_words = 0

    def add(self, words: Sequence[TimedWord]) -> str:
        """The text of the next words."""
        self._num_words += len(words)
        before = self.said[-1:]
        delta = join_words([*([before] if before else []), *(word.word for word in words)])
        return self._say(delta[len(before) :])

    def rest(self, transcript: Transcript) -> str:
        """The text that is left of a transcript; empty if there is nothing."""
        if transcript.text.startswith(self.said):
            return self._say(transcript.text[len(self.said) :])
        return self.add(transcript.words[self._num_words :])

    def _say(self, delta: str) -> str:
        self.said += delta
        return delta


Heard: TypeAlias = "asyncio.Queue[Sequence[TimedWord] | None]"
"""Words in order, and None once there is a transcript, or an error."""


def events(job: QueuedRecording, batcher: Batcher) -> AsyncIterator[str]:
    """Let a job wait for its turn; its events, of which the last one may be an error.

    Where they are closed early, as by a client that has gone, the job is dropped.

    Raises:
        FullError: as many wait as may.
    """
    loop = asyncio.get_running_loop()
    heard: Heard = asyncio.Queue()

    def tell(words: Sequence[TimedWord] | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(heard.put_nowait, words)

    job.heard = tell
    job.future.add_done_callback(lambda _: tell(None))
    batcher.submit(job)
    return _events(job, heard)


async def _events(job: QueuedRecording, heard: Heard) -> AsyncIterator[str]:
    deltas = Deltas()
    try:
        while (words := await heard.get()) is not None:
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
