"""Requests and messages that are broken in any way: an answer of one line, never a crash.

`ASR_FUZZ=300 pytest tests/serve/test_fuzz.py` tries so many of each kind.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocketDisconnect

from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.model.package import load_package
from asr.serve.app import Settings, make_app
from tests.decode.streams import save_streaming_package
from tests.mutations import mutated_text

from .clients import RATE_HZ, wav

URL = "/v1/audio/transcriptions"
HEADERS = {"content-type": "multipart/form-data; boundary=cut"}
REFUSALS = {400, 413, 429}
NUM_EXAMPLES = int(os.environ.get("ASR_FUZZ", "40"))


def part(name: str, value: bytes, *, file: str | None = None) -> bytes:
    named = "" if file is None else f'; filename="{file}"'
    head = f'--cut\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--cut--\r\n"
AUDIO = part("file", wav(0.3), file="talk.wav")
WHOLE = (
    part("model", b"any")
    + AUDIO
    + part("response_format", b"verbose_json")
    + part("timestamp_granularities[]", b"word")
    + END
)
BODIES = (
    WHOLE,
    b"",
    END,
    AUDIO,  # without an end
    WHOLE.replace(b"\r\n", b"\n"),
    AUDIO + AUDIO + END,
    part("file", b"no upload") + END,
    part("file", b"", file="") + END,
    part("file", wav(0.3)[:46], file="no samples.wav") + END,
    part("file", wav(0.3)[:60], file="../../\N{PILE OF POO}\\x00.wav") + END,
    AUDIO + part("response_format", b"\xff\xfe") + END,
    AUDIO + part("stream", b"true") + part("response_format", b"json") + END,
    AUDIO + part("keywords", b"a" * 10_000) + END,
    AUDIO + b"".join(part("model", b"x") for _ in range(200)) + END,
    AUDIO.replace(b"form-data", b"form-data; name=file; name=model") + END,
)
"""Requests to begin with: whole, cut off, empty, repeated, and without audio."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    package = load_package(save_streaming_package(tmp_path_factory.mktemp("tiny") / "model"))
    limits = Settings("tiny", max_num_bytes=200_000, max_duration_s=5.0)
    app = make_app(lambda hotwords: Transcriber(package, GreedyDecoder(), strict=False), limits)
    with TestClient(app) as client:
        yield client


def check_answered(client: TestClient, body: bytes, headers: dict[str, str]) -> None:
    answer = client.post(URL, content=body, headers=headers)
    assert answer.status_code in {200, *REFUSALS}, answer.text
    if answer.status_code != 200:
        assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_odd_requests(client: TestClient, number: int) -> None:
    check_answered(client, BODIES[number], HEADERS)


bounded = settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@bounded
@given(body=st.sampled_from(BODIES), seed=st.integers(0, 2**31), rounds=st.integers(1, 4))
def test_mutated_requests(client: TestClient, body: bytes, seed: int, rounds: int) -> None:
    generator = random.Random(seed)
    for _ in range(rounds):
        body = mutated_text(body or END, generator)
    check_answered(client, body, HEADERS)


@bounded
@example(kind="multipart/form-data")
@example(kind="multipart/form-data; boundary=")
@example(kind="multipart/form-data; boundary=" + "x" * 5000)
@example(kind="application/x-www-form-urlencoded")
@example(kind="")
@given(kind=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_any_type_of_content(client: TestClient, kind: str) -> None:
    check_answered(client, WHOLE, {"content-type": kind})


messages = st.lists(
    st.one_of(
        st.binary(max_size=4000),
        st.sampled_from([b"", b"\0", b"\xff\x7f" * 2000]),
        st.sampled_from(["end", "", "END", '{"type": "end"}', "\N{PILE OF POO}"]),
    ),
    max_size=6,
)


def until_closed(socket: Any) -> tuple[int, str]:
    """Reads what the server sends; the code and the reason with which it closes."""
    try:
        while True:
            assert socket.receive_json()["type"] in {"partial", "final", "end"}
    except WebSocketDisconnect as closed:
        return closed.code, closed.reason or ""


@bounded
@example(sent=["end", b"\0\0"])
@example(sent=[b"\0", "end"])
@example(sent=[b"", b"", "end", "end"])
@given(sent=messages)
def test_any_messages_of_a_stream(client: TestClient, sent: list[Any]) -> None:
    """A stream that was understood ends; another one is closed with a reason."""
    with client.websocket_connect(f"/v1/stream?chunk_ms=200&sample_rate={RATE_HZ}") as socket:
        for one in [*sent, "end"]:
            socket.send_text(one) if isinstance(one, str) else socket.send_bytes(one)
        code, reason = until_closed(socket)
    first_text = next(one for one in [*sent, "end"] if isinstance(one, str))
    assert code == (1000 if first_text == "end" else 1008)
    assert reason or code == 1000
    assert client.get("/health").json()["status"] == "ok"
