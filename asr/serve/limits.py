"""Limits on requests: their size and the time of their upload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from asr.serve.responses import error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _LimitError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BodyLimit:
    """ASGI middleware that refuses bodies that are too large or too slow, before storing them."""

    def __init__(self, app: App, *, max_num_bytes: int, max_upload_s: float) -> None:
        self.app = app
        self.max_num_bytes = max_num_bytes
        self.max_upload_s = max_upload_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline_s = asyncio.get_running_loop().time() + self.max_upload_s
        num_bytes = 0
        is_answered = has_body = False

        async def limited() -> Message:
            nonlocal num_bytes, has_body
            if has_body:  # from now on only a disconnect can follow
                return await receive()
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError:
                raise _LimitError(408, f"no whole request in {self.max_upload_s:g} s") from None
            num_bytes += len(message.get("body", b""))
            has_body = not message.get("more_body", False)
            if num_bytes > self.max_num_bytes:
                raise self._too_large()
            return message

        async def watched(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            if self._stated(scope) > self.max_num_bytes:
                raise self._too_large()
            await self.app(scope, limited, watched)
        except _LimitError as limit:
            if is_answered:
                raise
            await _refuse(send, limit)

    def _too_large(self) -> _LimitError:
        return _LimitError(413, f"the request is larger than {self.max_num_bytes / 2**20:.3g} MiB")

    @staticmethod
    def _stated(scope: MutableMapping[str, Any]) -> int:
        """Return the length in the request's header."""
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        return int(stated) if stated.isdigit() else 0


async def _refuse(send: Send, limit: _LimitError) -> None:
    body = json.dumps(error(str(limit))).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": limit.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
