"""The web application: OpenAI's transcription API, health, metrics and a web page."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse

from asr.audio.memory import as_audio
from asr.audio.read import probe_audio
from asr.audio.source import ByteSource
from asr.decode.transcribe import Transcriber
from asr.decode.transcript import Transcript
from asr.errors import InputError, RunError
from asr.serve import responses
from asr.serve.batcher import Batcher, FullError, Hotwords, QueuedRecording
from asr.serve.events import events
from asr.serve.limits import BodyLimit
from asr.serve.live import LiveHub, converse

PAGE = Path(__file__).with_name("page.html")
SUBPROTOCOL = "encore"
"""The subprotocol of the websocket; browsers need an answer if they offer one."""
_KEY = "openai-insecure-api-key."  # a subprotocol: browsers cannot set headers of a websocket
_MOST_HOTWORDS = 1000
_CLIENT_CLOSED_REQUEST = 499  # as in nginx; only logs show it
_FIELDS = ("file", "response_format", "timestamp_granularities", "stream", "keywords")


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of a server in bytes and seconds, and its model, language and ``api_key``, if any."""

    model_name: str
    version: str = "0"
    language: str = ""
    api_key: str = ""
    max_num_bytes: int = 1 << 30
    max_duration_s: float = 4 * 3600.0
    max_upload_s: float = 300.0
    max_waiting: int = 256
    max_streams: int = 64


def make_app(transcriber_of: Callable[[Hotwords], Transcriber], settings: Settings) -> FastAPI:
    """Build the application; ``transcriber_of`` returns the transcriber for some hotwords."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.batcher = Batcher(transcriber_of, max_waiting=settings.max_waiting)
        app.state.live = LiveHub(lambda: transcriber_of(()), max_clients=settings.max_streams)
        yield
        await run_in_threadpool(app.state.live.close)
        await run_in_threadpool(app.state.batcher.close)

    app = FastAPI(
        title="Encore", version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.settings = settings
    app.add_middleware(
        BodyLimit, max_num_bytes=settings.max_num_bytes, max_upload_s=settings.max_upload_s
    )
    app.add_exception_handler(HTTPException, _as_error)
    app.get("/", response_class=HTMLResponse)(page)
    app.get("/health")(health)
    app.get("/metrics", response_class=PlainTextResponse)(metrics)
    app.get("/v1/models")(models)
    app.get("/v1/models/{name:path}")(model)
    app.post("/v1/audio/transcriptions")(transcriptions)
    app.websocket("/v1/stream")(stream)
    return app


async def page() -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(
        _page(),
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'; connect-src 'self'; media-src blob:; img-src data:"
        },
    )


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


async def health(request: Request) -> dict[str, Any]:
    """Report that the server runs, and the number of waiting recordings."""
    batcher: Batcher = request.app.state.batcher
    return {"status": "ok", "waiting": batcher.num_waiting}


async def metrics(request: Request) -> str:
    """Report counts since the start in Prometheus' format."""
    batcher: Batcher = request.app.state.batcher
    live: LiveHub = request.app.state.live
    counts = batcher.counts
    rows = (
        ("transcribed_total", "counter", "Recordings transcribed.", counts.num_done),
        ("failed_total", "counter", "Recordings that could not be read.", counts.num_failed),
        ("refused_total", "counter", "Requests refused by a full queue.", counts.num_refused),
        (
            "turns_total",
            "counter",
            "Groups of recordings transcribed together.",
            counts.num_batches,
        ),
        ("audio_seconds_total", "counter", "Audio transcribed.", counts.audio_s),
        ("busy_seconds_total", "counter", "Time spent transcribing.", counts.busy_s),
        ("cpu_seconds_total", "counter", "CPU time of the server.", time.process_time()),
        ("waiting", "gauge", "Recordings waiting in the queue.", batcher.num_waiting),
        ("live_streams", "gauge", "Open live streams.", live.num_clients),
        ("live_audio_seconds_total", "counter", "Audio of live streams.", live.audio_s),
    )
    return "".join(
        f"# HELP encore_{name} {text}\n# TYPE encore_{name} {kind}\nencore_{name} {value:g}\n"
        for name, kind, text, value in rows
    )


async def models(request: Request) -> dict[str, Any]:
    """Return the model as a list of one."""
    _check_key(request)
    return {"object": "list", "data": [_model(request.app.state.settings)]}


async def model(request: Request, name: str) -> dict[str, Any]:
    """Return the model by its name."""
    _check_key(request)
    settings: Settings = request.app.state.settings
    if name != settings.model_name:
        raise HTTPException(404, f"no model {name!r}; this server has {settings.model_name!r}")
    return _model(settings)


def _model(settings: Settings) -> dict[str, Any]:
    return {
        "id": settings.model_name,
        "object": "model",
        "created": 0,
        "owned_by": "encore",
        "task": "automatic-speech-recognition",
        "language": settings.language,
    }


async def stream(socket: WebSocket) -> None:
    """Transcribe live audio: receive samples, send results."""
    offered: list[str] = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        _check_key(socket, next((one for one in offered if one.startswith(_KEY)), ""))
    except HTTPException as error:
        await socket.close(1008, error.detail)
        return
    settings: Settings = socket.app.state.settings
    await converse(socket, socket.app.state.live, max_duration_s=settings.max_duration_s)


async def transcriptions(request: Request) -> Response:
    """Transcribe the file of a request; accept any model name."""
    _check_key(request)
    settings: Settings = request.app.state.settings
    batcher: Batcher = request.app.state.batcher
    async with contextlib.AsyncExitStack() as stack:
        form = await stack.enter_async_context(request.form(max_files=1, max_fields=100))
        options = _options(form)
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise HTTPException(400, "file: no file in the request")
        try:
            job = await run_in_threadpool(_job, upload, options.hotwords, settings)
            if options.hotwords:
                await run_in_threadpool(batcher.transcriber_of, options.hotwords)
            told = events(job, batcher) if options.is_stream else None
            if told is None:
                batcher.submit(job)
            stack.pop_all()  # the job still reads the file, and closes it at its end
            job.future.add_done_callback(lambda _: upload.file.close())
            if told is not None:
                return StreamingResponse(told, media_type="text/event-stream")
            transcript = await _transcript(job, request)
        except InputError as error:
            raise HTTPException(400, _named(str(error), upload)) from error
        except RunError as error:
            raise HTTPException(500, str(error)) from error
        except FullError as full:
            raise HTTPException(
                429,
                "too many waiting requests; try again later",
                {"Retry-After": str(full.retry_after_s)},
            ) from full
    return _answer(transcript, options, settings)


async def _transcript(job: QueuedRecording, request: Request) -> Transcript:
    """Wait for a transcript; drop the job if the client disconnects first."""
    done = asyncio.wrap_future(job.future)
    gone = asyncio.create_task(_disconnection(request))
    try:
        await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            job.drop()
            raise HTTPException(_CLIENT_CLOSED_REQUEST, "the client has disconnected")
        return done.result()
    finally:
        gone.cancel()


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of a request."""

    kind: str
    with_words: bool
    is_stream: bool
    hotwords: Hotwords


def _options(form: FormData) -> _Options:
    kind = str(form.get("response_format", "json"))
    if kind not in responses.RESPONSE_FORMATS:
        allowed = ", ".join(responses.RESPONSE_FORMATS)
        raise HTTPException(400, f"response_format: {kind!r}; allowed: {allowed}")
    granularities = _listed(form, "timestamp_granularities")
    for one in granularities:
        if one not in responses.GRANULARITIES:
            raise HTTPException(
                400,
                f"timestamp_granularities: {one!r}; allowed: {', '.join(responses.GRANULARITIES)}",
            )
    if granularities and kind != "verbose_json":
        raise HTTPException(400, "timestamp_granularities needs response_format=verbose_json")
    stream = str(form.get("stream", "false")).lower()
    if stream not in ("true", "false"):
        raise HTTPException(400, f"stream: {stream!r}; allowed: true, false")
    if stream == "true" and kind not in ("json", "text"):
        raise HTTPException(400, "stream=true needs response_format=json or text")
    hotwords = [
        *_listed(form, "keywords"),
        *(one.strip() for one in str(form.get("hotwords", "")).split(",")),
    ]
    found = tuple(one for one in hotwords if one)
    if len(found) > _MOST_HOTWORDS:
        raise HTTPException(400, f"keywords: {len(found):,}; at most {_MOST_HOTWORDS:,}")
    return _Options(kind, "word" in granularities, stream == "true", found)


def _listed(form: FormData, name: str) -> Sequence[str]:
    """Return the values of a field that may be repeated, with or without brackets."""
    return [str(one) for key in (name, f"{name}[]") for one in form.getlist(key)]


def _job(upload: UploadFile, hotwords: Hotwords, settings: Settings) -> QueuedRecording:
    """Make a job of the upload; raise InputError if it is not audio or too long."""
    source = as_audio(upload.file)
    assert isinstance(source, ByteSource)
    source = replace(source, identity=(object(),))  # it is looked through once, not twice
    duration_s = probe_audio(source, strict=False).duration_s
    if duration_s > settings.max_duration_s:
        raise InputError(
            f"{source.name}: {duration_s:.0f} s of audio; at most {settings.max_duration_s:g} s"
        )
    return QueuedRecording(source, duration_s, hotwords)


def _named(message: str, upload: UploadFile) -> str:
    """Replace the file's name on the server by the client's in a message."""
    name = getattr(upload.file, "name", None)
    for own in (str(name), type(upload.file).__name__):
        message = message.replace(own, upload.filename or "the file", 1)
    return message


def _answer(transcript: Transcript, options: _Options, settings: Settings) -> Response:
    if options.kind == "json":
        return JSONResponse(responses.json_body(transcript))
    if options.kind == "verbose_json":
        return JSONResponse(
            responses.as_verbose_json(transcript, settings.language, options.with_words)
        )
    return PlainTextResponse(responses.as_plain(transcript, options.kind))


def _check_key(request: HTTPConnection, subprotocol: str = "") -> None:
    """Raise HTTPException unless a header, or the subprotocol of a socket, has the server's key."""
    key = request.app.state.settings.api_key
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    given = given or unquote(subprotocol.removeprefix(_KEY))
    if key and not hmac.compare_digest(given.encode(), key.encode()):
        raise HTTPException(401, "the API key is missing or wrong (Authorization: Bearer …)")


async def _as_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}
    message = str(error.detail)
    param, _, rest = message.partition(": ")
    return JSONResponse(
        responses.error(
            message,
            kind=kinds.get(error.status_code, "invalid_request_error"),
            param=param if rest and param in _FIELDS else "file" if rest else None,
        ),
        error.status_code,
        error.headers,
    )
