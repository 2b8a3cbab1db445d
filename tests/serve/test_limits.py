from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from asr.serve.limits import BodyLimit


async def echo(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message["body"])
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def answer(pieces: list[bytes | float], headers: list[tuple[bytes, bytes]] | None = None) -> Any:
    """Status and body of the answer to a body that comes in pieces; numbers are pauses in s."""
    sent: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        while isinstance(piece := left.pop(0), float):
            await asyncio.sleep(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    app = BodyLimit(echo, max_num_bytes=10, max_upload_s=0.2)
    asyncio.run(app({"type": "http", "headers": headers or []}, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    ("pieces", "status", "said"),
    [
        ([b"12345", b"67890"], 200, b"10"),
        ([b"12345", b"67890", b"1"], 413, b"larger than"),
        ([b"12345", 1.0, b"6"], 408, b"no whole request in 0.2 s"),
        ([b"1", 0.15, b"2", 0.15, b"3"], 408, b"no whole request"),
    ],
)
def test_a_body_within_its_limits(pieces: list[bytes | float], status: int, said: bytes) -> None:
    found, body = answer(pieces)
    assert found == status
    assert said in body


def test_a_stated_length_is_refused_at_once() -> None:
    found, _ = answer([b"1"], [(b"content-length", b"11")])
    assert found == 413
