"""The page's microphone in a headless Chromium, which hears a file."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from asr.audio.write import write_audio
from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.model.package import load_package
from asr.serve.app import Settings, make_app, page
from tests.decode.package import noise
from tests.decode.streams import save_streaming_package

from .clients import running, tiny_transcriber
from .test_app import CHROMIUM

SPEAK = """\
const record = at("record"), seen = [];
const later = (test) => new Promise((done) => {
  const wait = setInterval(() => { if (test()) { clearInterval(wait); done(); } }, 50);
});
const tell = (told) => fetch("test/done", { method: "POST", body: JSON.stringify(told) });
(async () => {
  record.click();
  await later(() => at("state").textContent === "recording");
  await LATER;
  const live = at("words").textContent, state = at("state").textContent;
  record.click();
  const isOver = () => /words|nothing/.test(at("state").textContent);
  await later(() => isOver() || at("state").className === "bad");
  tell({
    live, state, says: at("state").textContent,
    words: [...document.querySelectorAll("#words button")].map((one) => one.textContent),
    txt: found && texts.txt(), audio: audio.src.slice(0, 5),
    left: document.querySelectorAll(".partial").length,
  });
})();
"""


def spoken_to_the_page(app: FastAPI, folder: Path, until: str) -> dict[str, Any]:
    """What the page shows of a microphone that hears noise; it stops by the condition ``until``."""
    told: list[dict[str, Any]] = []
    has_told = threading.Event()

    @app.post("/test/done")
    async def done(request: Request) -> dict[str, Any]:
        told.append(await request.json())
        has_told.set()
        return {}

    @app.get("/test")
    async def test_page() -> HTMLResponse:
        whole = await page()
        script = SPEAK.replace("LATER", until)
        text = bytes(whole.body).decode().replace("</html>", f"<script>{script}</script></html>")
        headers = {"Content-Security-Policy": whole.headers["Content-Security-Policy"]}
        return HTMLResponse(text, headers=headers)

    write_audio(folder / "speech.wav", noise(30.0, 48_000))
    with running(app) as address:
        assert CHROMIUM is not None
        browser = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
                f"--use-file-for-fake-audio-capture={folder / 'speech.wav'}",
                "--autoplay-policy=no-user-gesture-required",
                *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}"),
                f"{address}/test",
            ],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "no_proxy": "*"},
        )  # fmt: skip
        try:
            has_told.wait(90)
        finally:
            browser.terminate()
            _, errors = browser.communicate(timeout=30)
    console = [line for line in errors.splitlines() if "CONSOLE" in line]
    assert not [line for line in console if "ScriptProcessor" not in line], console
    assert told, errors[-3000:]
    return told[0]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_words_while_one_speaks(tmp_path: Path) -> None:
    package = load_package(save_streaming_package(tmp_path / "model"))
    app = make_app(lambda hotwords: Transcriber(package, GreedyDecoder()), Settings("tiny"))
    until = "later(() => at('words').textContent.length > 3)"
    told = spoken_to_the_page(app, tmp_path, until)
    assert told["state"] == "recording", "words are there while one speaks"
    assert told["live"].strip()
    assert told["words"]
    assert told["says"].startswith(f"{len(told['words'])} words, ")
    assert told["txt"].split() == told["words"]
    assert told["audio"] == "blob:"
    assert told["left"] == 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_sends_the_recording_to_a_model_that_does_not_stream(tmp_path: Path) -> None:
    app = make_app(tiny_transcriber(tmp_path), Settings("tiny"))
    told = spoken_to_the_page(app, tmp_path, "new Promise((done) => setTimeout(done, 1500))")
    assert told["live"] == ""
    assert told["words"]
    assert told["says"].startswith(f"{len(told['words'])} words, ")
