from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from asr.serve.app import Settings, make_app
from asr.serve.batcher import Batcher

from .clients import running, tiny_transcriber, wav

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SMALL = Settings("tiny", language="en", max_num_bytes=400_000, max_duration_s=20.0)
URL = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = make_app(tiny_transcriber(tmp_path_factory.mktemp("tiny")), SMALL)
    with TestClient(app) as client:
        yield client


def post(client: TestClient, data: bytes = wav(2.0), **fields: Any) -> Any:
    return client.post(URL, files={"file": ("talk.wav", data)}, data=fields)


def test_the_text_is_that_of_the_model(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(wav(2.0))
    alone = tiny_transcriber(tmp_path)(()).transcribe(tmp_path / "talk.wav")
    answer = post(client, model="whisper-1", language="en", temperature="0")
    assert answer.status_code == 200
    assert answer.json() == {"text": alone.text, "usage": {"type": "duration", "seconds": 2.0}}
    assert alone.text


def test_verbose_json_has_what_clients_read(client: TestClient) -> None:
    fields: dict[str, Any] = {"timestamp_granularities[]": ["word", "segment"]}
    found = post(client, response_format="verbose_json", **fields).json()
    assert found["task"] == "transcribe"
    assert found["language"] == "en"
    assert found["duration"] == 2.0
    assert " ".join(one["text"] for one in found["segments"]) == found["text"]
    assert [one["word"] for one in found["words"]] == found["text"].split()
    for segment in found["segments"]:
        assert segment.keys() == {
            *("id", "seek", "start", "end", "text", "tokens", "temperature"),
            *("avg_logprob", "compression_ratio", "no_speech_prob"),
        }
        assert 0 <= segment["start"] < segment["end"] <= 2.0
    assert "words" not in post(client, response_format="verbose_json").json()


def test_plain_formats(client: TestClient) -> None:
    text = post(client).json()["text"]
    assert post(client, response_format="text").text == f"{text}\n"
    assert post(client, response_format="srt").text.startswith("1\n00:00:0")
    assert post(client, response_format="vtt").text.startswith("WEBVTT\n\n00:00:0")


def test_a_stream_of_events(client: TestClient) -> None:
    answer = post(client, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n")[:-1]]
    assert [one["type"] for one in events[-2:]] == [
        *("transcript.text.delta", "transcript.text.done")
    ]
    text = events[-1]["text"]
    assert "".join(one["delta"] for one in events[:-1]) == text


@pytest.mark.parametrize(
    ("data", "fields", "status", "said"),
    [
        (b"no audio", {}, 400, "talk.wav: not readable as audio"),
        (b"", {}, 400, "talk.wav: not readable as audio (the file is empty)"),
        (wav(21.0), {}, 400, "talk.wav: 21 s of audio; at most 20 s"),
        (wav(30.0), {}, 413, "the request is larger than 0.381 MiB"),
        (wav(0.5), {"response_format": "doc"}, 400, "response_format: 'doc'; allowed: json, text"),
        (wav(0.5), {"stream": "maybe"}, 400, "stream: 'maybe'; allowed: true, false"),
        (wav(0.5), {"stream": "true", "response_format": "srt"}, 400, "stream=true needs"),
        (wav(0.5), {"timestamp_granularities[]": "word"}, 400, "needs response_format=verbose_js"),
        (
            wav(0.5),
            {"timestamp_granularities[]": "phone", "response_format": "verbose_json"},
            *(400, "timestamp_granularities: 'phone'; allowed: segment, word"),
        ),
        (wav(0.5), {"keywords": ["Ohm"]}, 400, "keywords: this server searches without a beam"),
        (wav(0.5), {"hotwords": "Ohm, Volt"}, 400, "keywords: this server searches without"),
    ],
)
def test_requests_that_are_refused(
    client: TestClient, data: bytes, fields: dict[str, Any], status: int, said: str
) -> None:
    answer = post(client, data, **fields)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_a_request_without_a_file(client: TestClient) -> None:
    answer = client.post(URL, data={"model": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"


def test_models_health_and_metrics(client: TestClient) -> None:
    post(client)
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["tiny"]
    assert client.get("/v1/models/tiny").json()["object"] == "model"
    assert client.get("/v1/models/other").status_code == 404
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    counts = dict(re.findall(r"^(encore_\w+) (\S+)$", client.get("/metrics").text, re.M))
    assert float(counts["encore_transcribed_total"]) >= 1
    assert float(counts["encore_audio_seconds_total"]) >= 2


def test_a_key_is_asked_for(tmp_path: Path) -> None:
    app = make_app(tiny_transcriber(tmp_path), Settings("tiny", api_key="secret"))
    with TestClient(app) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = client.post(URL, files={"file": ("a.wav", wav(0.5))}, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
            assert client.get("/v1/models", headers=headers).status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.post(URL, files={"file": ("a.wav", wav(0.5))}, headers=right).is_success
        assert client.get("/health").is_success


def test_a_full_queue_is_told_when_to_come_again(tmp_path: Path) -> None:
    transcriber_of = tiny_transcriber(tmp_path)
    go = threading.Event()

    def slow(hotwords: tuple[str, ...]) -> Any:
        go.wait(30)
        return transcriber_of(hotwords)

    app = make_app(slow, Settings("tiny", max_waiting=2))
    with TestClient(app) as client:
        answers: list[Any] = []
        threads = [
            threading.Thread(target=lambda: answers.append(post(client, wav(0.5))))
            for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        batcher: Batcher = app.state.batcher
        end_s = time.monotonic() + 20
        while not batcher.counts.num_refused and time.monotonic() < end_s:
            time.sleep(0.01)
        go.set()
        for thread in threads:
            thread.join()
    refused = [one for one in answers if one.status_code == 429]
    assert refused
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert {one.status_code for one in answers} == {200, 429}


def test_the_client_of_openai(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    app = make_app(tiny_transcriber(tmp_path), Settings("tiny", api_key="secret"))
    with running(app) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key="secret") as client:
            files = [("a.wav", wav(1 + number / 4, number)) for number in range(6)]
            found = [
                client.audio.transcriptions.create(
                    model="any",
                    file=file,
                    response_format="verbose_json",
                    timestamp_granularities=["word"],
                )
                for file in files
            ]
            assert [one.duration for one in found] == [1 + number / 4 for number in range(6)]
            assert all(one.words for one in found)
            stream = client.audio.transcriptions.create(model="any", file=files[0], stream=True)
            events = list(stream)
            assert events[-1].type == "transcript.text.done"
            assert events[-1].text == found[0].text
            with pytest.raises(openai.BadRequestError, match="not readable as audio"):
                client.audio.transcriptions.create(model="any", file=("a.wav", b"?"))
        stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="no", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()


SEND = """\
const data = Uint8Array.from(atob("WAV"), (letter) => letter.charCodeAt(0));
transcribe(new Blob([data], {type: "audio/wav"}), "talk.wav").then(() => {
  const words = document.querySelectorAll("#words button");
  if (words.length) words[0].click();
  document.body.style.width = "400px";
  document.body.dataset.measured = JSON.stringify({
    words: [...words].map((one) => one.textContent), state: at("state").textContent,
    srt: texts.srt(), narrow: document.body.scrollWidth <= 400, source: audio.src.slice(0, 5),
  });
});
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_the_words(tmp_path: Path) -> None:
    import base64
    import html

    app = make_app(tiny_transcriber(tmp_path), Settings("tiny"))
    script = SEND.replace("WAV", base64.b64encode(wav(2.0)).decode())

    @app.get("/test")
    async def test_page() -> Any:
        from fastapi.responses import HTMLResponse

        from asr.serve.app import PAGE

        return HTMLResponse(PAGE.read_text().replace("</html>", f"<script>{script}</script>"))

    with running(app) as address:
        assert CHROMIUM is not None
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
                *("--virtual-time-budget=15000", "--dump-dom", f"{address}/test"),
            ],
            capture_output=True, text=True, timeout=120, check=True,
            env={**os.environ, "no_proxy": "*"},
        )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in console if "ScriptProcessor" not in line], console
    found = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert found is not None, done.stdout[-3000:]
    measured = json.loads(html.unescape(found[1]))
    assert measured["words"]
    assert measured["state"] == f"{len(measured['words'])} words, 2.0 s"
    assert measured["srt"].startswith("1\n00:00:0")
    assert measured["narrow"]
    assert measured["source"] == "blob:"
