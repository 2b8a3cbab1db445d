"""Live streams over a websocket: words of the model, limits, and many clients at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from asr.decode.beam import BeamDecoder
from asr.decode.greedy import GreedyDecoder
from asr.decode.recogniser import load_recogniser
from asr.decode.search import Search, with_hotwords
from asr.decode.transcribe import Transcriber
from asr.lm.hotwords import Hotword
from asr.model.package import ModelPackage, load_package
from asr.nn.chunks import ChunkContext
from asr.serve.app import Settings, make_app
from asr.serve.live import AHEAD_S
from asr.serve.server import listen, server_of
from tests.decode.package import noise, save_tiny_package
from tests.decode.streams import save_streaming_package, streaming_config

RATE_HZ = 8000
URL = f"/v1/stream?chunk_ms=200&sample_rate={RATE_HZ}"
SMALL = Settings("tiny", max_duration_s=20.0, max_streams=3)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_streaming_package(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def client(package: ModelPackage) -> Iterator[TestClient]:
    with TestClient(app_of(package)) as client:
        yield client


def app_of(package: ModelPackage, settings: Settings = SMALL) -> Any:
    return make_app(lambda hotwords: Transcriber(package, GreedyDecoder()), settings)


def samples(duration_s: float, seed: int = 0) -> np.ndarray:
    """16 bit samples."""
    floats = noise(duration_s, RATE_HZ, seed=seed).samples
    return (floats * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")


def text_of(package: ModelPackage, pcm: np.ndarray) -> str:
    transcriber = Transcriber(package, GreedyDecoder(), stream=ChunkContext(5, 8, 1))
    return transcriber.transcribe(pcm, RATE_HZ).text


def until_the_end(socket: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != "end":
        events.append(socket.receive_json())
    return events


def test_words_are_those_of_the_file(client: TestClient, package: ModelPackage) -> None:
    pcm = samples(6.0)
    with client.websocket_connect(URL) as socket:
        data = pcm.tobytes()
        for first in range(0, len(data), 999):  # odd numbers of bytes
            socket.send_bytes(data[first : first + 999])
        socket.send_text("end")
        events = until_the_end(socket)
    final = [event for event in events if event["type"] == "final"]
    assert " ".join(event["text"] for event in final) == text_of(package, pcm)
    assert final
    assert any(event["type"] == "partial" for event in events)
    for event in final:
        assert event["start"] < event["end"]
        assert " ".join(word["word"] for word in event["words"]) == event["text"]
    metrics = client.get("/metrics").text
    assert "encore_live_audio_seconds_total 6" in metrics
    assert "encore_live_streams 0" in metrics


def test_partial_results_come_while_audio_does(client: TestClient) -> None:
    with client.websocket_connect(URL) as socket:
        socket.send_bytes(samples(3.0).tobytes())
        assert socket.receive_json()["type"] in ("partial", "final")
        socket.send_text("end")
        assert until_the_end(socket)


def test_hotwords_of_the_server_are_in_partial_results(package: ModelPackage) -> None:
    decoder = BeamDecoder(beam=100)
    boosted = cast(Search, with_hotwords(decoder, [Hotword("cat")], package, 20.0))
    found = []
    searches: list[Search] = [decoder, boosted]
    for search in searches:
        transcriber = Transcriber(package, search)
        with (
            TestClient(make_app(lambda hotwords: transcriber, SMALL)) as client,  # noqa: B023
            client.websocket_connect(URL) as socket,
        ):
            socket.send_bytes(samples(3.0).tobytes())
            socket.send_text("end")
            events = until_the_end(socket)
        found.append({word for event in events[:-2] for word in event["text"].split()})
        assert [event["type"] for event in events[-2:]] == ["final", "end"]
        assert all(event["type"] == "partial" for event in events[:-2])
    assert "cat" not in found[0]
    assert "cat" in found[1]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/v1/stream?chunk_ms=90", "multiples of 40 ms"),
        ("/v1/stream?chunk_ms=nan", "chunk_ms=nan: allowed: a number above 0"),
        ("/v1/stream?chunk_ms=20000", "chunk_ms=20000: allowed: a number above 0, to 10,000"),
        ("/v1/stream?chunk_ms=x", "chunk_ms=nan: allowed"),
        ("/v1/stream?chunk_ms=200&sample_rate=7", "sample_rate=7: allowed: a whole number"),
        ("/v1/stream?chunk_ms=200&sample_rate=8000.5", "sample_rate=8000.5: allowed"),
    ],
)
def test_what_cannot_be_is_said(client: TestClient, url: str, reason: str) -> None:
    closed_with(client, url, 1008, reason)


def closed_with(client: TestClient, url: str, code: int, reason: str, **headers: str) -> None:
    with (
        client.websocket_connect(url, headers=headers) as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_json()
    assert closed.value.code == code
    assert reason in closed.value.reason


def test_text_and_too_much_audio_end_a_stream(client: TestClient) -> None:
    for message, reason in (
        ("hello", "binary messages of 16 bit samples"),
        (samples(21.0).tobytes(), "more than 20 s of audio"),
    ):
        with client.websocket_connect(URL) as socket:
            if isinstance(message, str):
                socket.send_text(message)
            else:
                socket.send_bytes(message)
            with pytest.raises(WebSocketDisconnect) as closed:
                until_the_end(socket)
        assert closed.value.code == 1008
        assert reason in closed.value.reason


def test_an_exported_file_has_its_own_chunk(tmp_path: Path) -> None:
    """A client that names no chunk length gets it."""
    pytest.importorskip("onnxruntime")
    from asr.interop.onnx.stream_step import ExportedStep

    small = streaming_config(num_layers=2, subsampling_channels=16)
    package = load_package(save_tiny_package(tmp_path / "model", small))
    path = tmp_path / "stream.onnx"
    path.write_bytes(ExportedStep(package, ChunkContext(5, 8, 1)).float32)
    recogniser = load_recogniser(path)
    app = make_app(lambda hotwords: Transcriber(recogniser, GreedyDecoder()), SMALL)
    with (
        TestClient(app) as client,
        client.websocket_connect(f"/v1/stream?sample_rate={RATE_HZ}") as socket,
    ):
        socket.send_text("end")
        assert until_the_end(socket) == [{"type": "end"}]


def test_more_streams_than_may_be(client: TestClient) -> None:
    with (
        client.websocket_connect(URL),
        client.websocket_connect(URL),
        client.websocket_connect(URL) as last,
    ):
        time.sleep(0.2)
        closed_with(client, URL, 1013, "too many streams")
        last.send_text("end")
        assert until_the_end(last) == [{"type": "end"}]
        wait_for(client, 2)
        with client.websocket_connect(URL) as again:
            again.send_text("end")
            assert until_the_end(again) == [{"type": "end"}]
    wait_for(client, 0)


def wait_for(client: TestClient, num_streams: int) -> None:
    """Clients that go are let go of."""
    deadline_s = time.monotonic() + 10
    while f"encore_live_streams {num_streams}\n" not in client.get("/metrics").text:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_key_is_asked_for(package: ModelPackage) -> None:
    settings = Settings("tiny", api_key="secret")
    with TestClient(app_of(package, settings)) as client:
        closed_with(client, URL, 1008, "the API key is missing or wrong")
        headers = {"authorization": "Bearer secret"}
        with client.websocket_connect(URL, headers=headers) as socket:
            socket.send_text("end")
            assert until_the_end(socket) == [{"type": "end"}]


def test_a_browser_gives_its_key_as_a_subprotocol(package: ModelPackage) -> None:
    """Browsers cannot set headers of a websocket."""
    settings = Settings("tiny", api_key="se(cret) ä")
    with TestClient(app_of(package, settings)) as client:
        protocols = ["encore", "openai-insecure-api-key.se%28cret%29%20%C3%A4"]
        with client.websocket_connect(URL, subprotocols=protocols) as socket:
            socket.send_text("end")
            assert until_the_end(socket) == [{"type": "end"}]
            accepted: Any = socket.accepted_subprotocol  # its type says None
            assert accepted == "encore"
        with (
            client.websocket_connect(URL, subprotocols=["encore", f"{protocols[1]}s"]) as socket,
            pytest.raises(WebSocketDisconnect) as closed,
        ):
            socket.receive_json()
        assert "the API key is missing or wrong" in closed.value.reason


def test_a_model_that_does_not_stream_says_so(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    with TestClient(app_of(package)) as client:
        closed_with(client, URL, 1008, "streaming needs a model trained in chunks")


def test_many_clients_get_their_own_words(package: ModelPackage) -> None:
    """Over a real socket, faster than speech, more audio than may wait at once."""
    settings = Settings("tiny", max_streams=32)
    listening = listen(app_of(package, settings), "127.0.0.1", 0)
    server = server_of(listening.app)
    thread = threading.Thread(target=server.run, args=([listening.socket],))
    thread.start()
    found: dict[int, str] = {}
    url = listening.address.replace("http", "ws") + URL

    def speak(seed: int) -> None:
        with connect(url) as socket:
            data = samples(AHEAD_S + 2 if not seed else 2.0, seed).tobytes()
            for first in range(0, len(data), 3200):
                socket.send(data[first : first + 3200])
            socket.send("end")
            events = [json.loads(message) for message in socket]
            found[seed] = " ".join(one["text"] for one in events if one["type"] == "final")

    clients = [threading.Thread(target=speak, args=(seed,)) for seed in range(12)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
    lengths = [AHEAD_S + 2, *[2.0] * 11]
    assert found == {
        seed: text_of(package, samples(length_s, seed)) for seed, length_s in enumerate(lengths)
    }
