from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI

from asr.decode.greedy import FrameLabels, GreedyDecoder, TimedWord
from asr.decode.transcribe import Transcriber
from asr.decode.transcript import Transcript
from asr.errors import RunError
from asr.model.package import load_package
from asr.serve.app import Settings, make_app
from asr.serve.events import Deltas
from tests.decode.package import save_tiny_package, talkative

from .clients import running, wav

openai = pytest.importorskip("openai")

WORDS = tuple(TimedWord(word, 0.0, 0.1) for word in ("one", "two", "三", "四", "three"))
PIECE_S = 2.0
WAIT_S = 30.0


class Gate(GreedyDecoder):
    """Searches the first pieces at once, and the others when it may, or never if ``fails``."""

    def __init__(self, num_free: int, *, fails: bool = False) -> None:
        super().__init__()
        self.num_free, self.fails = num_free, fails
        self.num_searched = 0
        self.go = threading.Event()

    def label(self, log_probs_BTV: Any, lengths_B: Any) -> list[FrameLabels]:
        self.num_searched += 1
        if self.num_searched > self.num_free:
            assert self.go.wait(WAIT_S), "nothing was said before this piece was decoded"
            if self.fails:
                raise RunError("out of memory")
        return super().label(log_probs_BTV, lengths_B)


def app_with(gate: Gate, folder: Path) -> FastAPI:
    """An application that decodes a piece at a time, through ``gate``."""
    package = talkative(load_package(save_tiny_package(folder / "model")))
    transcriber = Transcriber(
        package, gate, chunk_s=PIECE_S, overlap_s=0.5, batch_s=PIECE_S, num_threads=1, vad="none"
    )
    return make_app(lambda hotwords: transcriber, Settings("tiny"))


@pytest.fixture
def client_of() -> Iterator[Any]:
    """Makes clients of the official library, which are closed."""
    made: list[Any] = []

    def client(address: str) -> Any:
        made.append(openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0))
        return made[-1]

    yield client
    for one in made:
        one.close()


def send(client: Any, duration_s: float, **fields: Any) -> Any:
    file = ("talk.wav", wav(duration_s))
    return client.audio.transcriptions.create(model="any", file=file, **fields)


def test_words_are_sent_before_the_last_piece_is_decoded(tmp_path: Path, client_of: Any) -> None:
    """The last piece waits for the client, who waits for the first words."""
    gate = Gate(num_free=6)
    with running(app_with(gate, tmp_path)) as address:
        stream = send(client_of(address), 12.0, stream=True)
        first = next(stream)
        assert first.type == "transcript.text.delta"
        assert first.delta
        assert gate.num_searched <= 7
        gate.go.set()
        *deltas, done = stream
        assert gate.num_searched > 7
        assert len(deltas) >= 3
        assert done.type == "transcript.text.done"
        assert "".join(one.delta for one in (first, *deltas)) == done.text
        assert done.text == send(client_of(address), 12.0).text


def leave(client: Any, duration_s: float, *, stream: bool, gate: Gate) -> None:
    """Send a recording, and close the connection once it is decoded, or waits."""
    if stream:
        events = send(client, duration_s, stream=True)
        if gate.num_free:
            next(events)
        events.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            send(client.with_options(timeout=1.0), duration_s)
    time.sleep(0.5)  # the server notices


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_cancels_the_rest(tmp_path: Path, client_of: Any, stream: bool) -> None:
    gate = Gate(num_free=3)
    app = app_with(gate, tmp_path)
    length_s = 400.0
    with running(app) as address:
        leave(client_of(address), length_s, stream=stream, gate=gate)
        gate.go.set()
        assert send(client_of(address), 1.0).text
        assert gate.num_searched < 0.6 * length_s / PIECE_S
        assert app.state.batcher.counts.num_done == 1
        assert app.state.batcher.counts.num_failed == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_waits_and_goes_is_left_out(
    tmp_path: Path, client_of: Any, stream: bool
) -> None:
    gate = Gate(num_free=0)
    app = app_with(gate, tmp_path)
    with running(app) as address:
        first = send(client_of(address), 1.0, stream=True)
        while not gate.num_searched:
            time.sleep(0.01)
        leave(client_of(address), 100.0, stream=stream, gate=gate)
        gate.go.set()
        assert list(first)[-1].type == "transcript.text.done"
        assert send(client_of(address), 1.0).text
        assert gate.num_searched == 2


def test_what_goes_wrong_behind_the_first_words_is_an_event(tmp_path: Path, client_of: Any) -> None:
    gate = Gate(num_free=6, fails=True)
    with running(app_with(gate, tmp_path)) as address:
        stream = send(client_of(address), 12.0, stream=True)
        next(stream)
        gate.go.set()
        with pytest.raises(openai.APIError, match="out of memory"):
            list(stream)


def test_deltas_make_up_the_text() -> None:
    deltas = Deltas()
    assert deltas.add(WORDS[:2]) == "one two"
    assert deltas.add(WORDS[2:3]) == " 三"
    transcript = Transcript("a", 4.0, "one two 三四 three", WORDS)
    assert deltas.rest(transcript) == "四 three"
    assert deltas.sent == transcript.text
    assert Deltas().rest(transcript) == transcript.text


def test_a_text_that_its_words_do_not_spell_is_told_by_words() -> None:
    deltas = Deltas()
    deltas.add(WORDS[:2])
    assert deltas.rest(Transcript("a", 4.0, "One, two three", (*WORDS[:2], WORDS[4]))) == " three"


def test_events_are_json(tmp_path: Path) -> None:
    """As a program reads them that has no client library."""
    from fastapi.testclient import TestClient

    gate = Gate(num_free=1)
    gate.go.set()
    with TestClient(app_with(gate, tmp_path)) as client:
        answer = client.post(
            "/v1/audio/transcriptions",
            files={"file": ("talk.wav", wav(5.0))},
            data={"stream": "true"},
        )
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    events = [json.loads(block.removeprefix("data: ")) for block in blocks]
    assert events[-1]["usage"] == {"type": "duration", "seconds": 5.0}
