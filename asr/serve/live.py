"""Live streams of many clients, encoded together by one thread, and their websocket.

A client sends samples and gets results; `docs/streaming.md` describes the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr.audio.resample import Resampler
from asr.decode.stream_encoder import BlockEncoder, chunk_context, own_chunk_ms
from asr.decode.streaming import Stream, Streamer, StreamResult
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.ranges import Range, SampleRate, check_value
from asr.serve.batcher import FullError

CHUNK_MS = 640.0
PCM_RATE_HZ = 16_000
AHEAD_S = 10.0
"""Most seconds of audio that wait for the model; above it, reading from the client pauses."""
_RETRY_AFTER_S = 10
_POLICY, _TOO_MANY, _FAILED = 1008, 1013, 1011  # close codes of RFC 6455 and its registry
_LiveChunkMs = Annotated[float, Range(0, 10_000, above=True)]  # longer chunks are not live

Deliver = Callable[[Sequence[StreamResult] | Exception | None], None]
"""Gets results, the error that ended a stream, or None after the last result."""


@dataclass(slots=True, eq=False)
class LiveClient:
    """A client's stream; ``waiting`` holds audio that the model has not read yet."""

    streamer: Streamer
    stream: Stream
    resampler: Resampler
    deliver: Deliver
    waiting: deque[NDArray[np.float32]] = field(default_factory=deque)
    has_ended: bool = False

    @property
    def waiting_s(self) -> float:
        """Seconds of waiting audio."""
        return sum(map(len, tuple(self.waiting))) / self.resampler.before_hz


class LiveHub:
    """An encoder of all clients' streams, which encodes those with equal chunk sizes together."""

    def __init__(self, transcriber_of: Callable[[], Transcriber], *, max_clients: int) -> None:
        self.max_clients = max_clients
        self.audio_s = 0.0
        self._transcriber_of = transcriber_of
        self._streamers: dict[float, Streamer] = {}
        self._clients: list[LiveClient] = []
        self._changed = Condition()
        self._is_open = True
        self._thread: Thread | None = None

    @property
    def num_clients(self) -> int:
        """Number of open streams."""
        return len(self._clients)

    def open(self, chunk_ms: float | None, sample_rate_hz: int, deliver: Deliver) -> LiveClient:
        """Open a stream for a client; another thread calls ``deliver``.

        Raises:
            InputError: the model cannot stream, or not in such chunks.
            FullError: too many streams are open, or the server stops.
        """
        with self._changed:
            if len(self._clients) >= self.max_clients or not self._is_open:
                raise FullError(_RETRY_AFTER_S)
            if chunk_ms is None:
                model = self._transcriber_of().package.model
                chunk_ms = own_chunk_ms(model) if isinstance(model, BlockEncoder) else CHUNK_MS
            if chunk_ms not in self._streamers:
                used = {client.streamer for client in self._clients}
                self._streamers = {ms: one for ms, one in self._streamers.items() if one in used}
                transcriber = self._transcriber_of()
                package = transcriber.package
                context = chunk_context(chunk_ms, package.model)
                self._streamers[chunk_ms] = Streamer(package, transcriber.decoder, context)
            streamer = self._streamers[chunk_ms]
            rate_hz = streamer.encoder.model.frontend.sample_rate_hz
            resampler = Resampler(sample_rate_hz, rate_hz)
            client = LiveClient(streamer, streamer.open(), resampler, deliver)
            self._clients.append(client)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="live", daemon=True)
                self._thread.start()
        return client

    def push(self, client: LiveClient, samples_N: NDArray[np.float32]) -> None:
        """Append audio of a client."""
        with self._changed:
            client.waiting.append(samples_N)
            self._changed.notify()

    def end(self, client: LiveClient) -> None:
        """End the audio of a client; the waiting audio is still read."""
        with self._changed:
            client.has_ended = True
            self._changed.notify()

    def drop(self, client: LiveClient) -> None:
        """Remove a client; nothing more is delivered to it."""
        with self._changed:
            if client in self._clients:
                self._clients.remove(client)

    def close(self) -> None:
        """Refuse new clients, and end the open streams."""
        with self._changed:
            self._is_open = False
            for client in self._clients:
                client.has_ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        any(one.waiting or one.has_ended for one in self._clients)
                        or not (self._is_open or self._clients)
                    )
                )
                if not self._clients:
                    if self._is_open:
                        continue
                    return
                clients = list(self._clients)
                for client in clients:
                    self._take(client)
            for streamer in {client.streamer for client in clients}:
                self._step(streamer, [one for one in clients if one.streamer is streamer])

    def _take(self, client: LiveClient) -> None:
        """Move the waiting audio of a client to its stream."""
        while client.waiting:
            samples_N = client.waiting.popleft()
            self.audio_s += len(samples_N) / client.resampler.before_hz
            client.stream.push(torch.from_numpy(client.resampler(samples_N)))
        if client.has_ended and not client.stream.audio.has_ended:
            client.stream.push(torch.from_numpy(client.resampler.finish()))
            client.stream.end()

    def _step(self, streamer: Streamer, clients: Sequence[LiveClient]) -> None:
        """Encode all blocks that are due, and remove the streams that have ended."""
        by_stream = {id(client.stream): client for client in clients}
        streams = [client.stream for client in clients]
        try:
            while stepped := list(streamer.step(streams)):
                for stream, results in stepped:
                    if results:
                        by_stream[id(stream)].deliver(results)
        except Exception as error:  # whatever happens, no client may wait for ever
            for client in clients:
                self.drop(client)
                client.deliver(error)
            return
        for client in clients:
            if client.stream.audio.has_ended:
                client.deliver(client.stream.last())
                self.drop(client)
                client.deliver(None)


async def converse(socket: WebSocket, hub: LiveHub, *, max_duration_s: float) -> None:
    """Serve one accepted websocket until its stream ends."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Sequence[StreamResult] | Exception | None] = asyncio.Queue()
    try:
        chunk_ms = _number(socket, "chunk_ms", _LiveChunkMs)
        rate_hz = int(_number(socket, "sample_rate", SampleRate) or PCM_RATE_HZ)
        client = await asyncio.to_thread(
            hub.open,
            chunk_ms,
            rate_hz,
            lambda found: loop.call_soon_threadsafe(queue.put_nowait, found),  # type: ignore[arg-type]
        )
    except InputError as error:
        await _close(socket, _POLICY, str(error))
        return
    except FullError:
        await _close(socket, _TOO_MANY, "too many streams; try again later")
        return
    reading = asyncio.create_task(_read(socket, hub, client, rate_hz, max_duration_s))
    try:
        while (found := await queue.get()) is not None:
            if isinstance(found, Exception):
                await _close(socket, _FAILED, f"failed ({found})")
                return
            for result in found:
                await socket.send_json(as_event(result))
        problem = await reading if reading.done() else None
        if problem:
            await _close(socket, _POLICY, problem)
            return
        await socket.send_json({"type": "end"})
        await _close(socket, 1000, "")
    except (WebSocketDisconnect, RuntimeError):  # the client has gone
        pass
    finally:
        reading.cancel()
        hub.drop(client)


async def _read(
    socket: WebSocket, hub: LiveHub, client: LiveClient, rate_hz: int, max_duration_s: float
) -> str:
    """Receive samples until the client ends its stream or disconnects; return what was wrong."""
    odd, received_s = b"", 0.0
    try:
        while True:
            while client.waiting_s > AHEAD_S:
                await asyncio.sleep(0.01)
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                hub.drop(client)
                client.deliver(None)
                return ""
            piece = message.get("bytes")
            if piece is None:
                if message.get("text") == "end":
                    return ""
                return "allowed: binary messages of 16 bit samples, and the text end"
            piece = odd + piece
            whole = len(piece) // 2 * 2
            odd = piece[whole:]
            samples_N = np.frombuffer(piece[:whole], "<i2").astype(np.float32) / np.float32(2**15)
            received_s += len(samples_N) / rate_hz
            if received_s > max_duration_s:
                return f"more than {max_duration_s:g} s of audio"
            hub.push(client, samples_N)
    finally:
        hub.end(client)


def as_event(result: StreamResult) -> dict[str, Any]:
    """Return a result as a message for the client."""
    return {
        "type": "final" if result.is_final else "partial",
        "text": result.text,
        "start": result.start_s,
        "end": result.end_s,
        "words": [word.as_dict() for word in result.words],
    }


def _number(socket: WebSocket, name: str, hint: Any) -> float | None:
    text = socket.query_params.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    check_value(int(number) if number == number // 1 else number, hint, name)
    return number


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError):  # already closed
        await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
