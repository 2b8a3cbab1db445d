from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from asr.cli.serve import is_loopback
from tests.decode.package import save_tiny_package
from tests.serve.clients import wav

from .runs import Command, environment

pytest.importorskip("uvicorn")
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n'
    b'--x\r\nContent-Disposition: form-data; name="response_format"\r\n\r\n'
    b"verbose_json\r\n--x--\r\n"
)


def post(address: str, audio: bytes) -> Any:
    head = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": "Bearer secret"}
    url = f"{address}/v1/audio/transcriptions"
    with urllib.request.urlopen(urllib.request.Request(url, FORM % audio, head)) as answer:
        return json.load(answer)


def test_what_was_accepted_is_answered_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    model = save_tiny_package(tmp_path / "model")
    answers: list[Any] = []
    with subprocess.Popen(
        [sys.executable, "-m", "asr", "serve", "--model", model, "--port", "0", "--beam", "5"],
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "ASR_API_KEY": "secret"},
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        assert post(address, wav(1.0))["duration"] == 1.0
        threads = [
            threading.Thread(target=lambda: answers.append(post(address, wav(60.0))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        health = f"{address}/metrics"
        while b"encore_waiting 0" in urllib.request.urlopen(health).read() and not answers:
            pass  # until a recording has come in
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        said = process.stderr.read()
    assert answers
    assert all(one["duration"] == 60.0 for one in answers)
    assert "Traceback" not in said


def test_addresses_that_only_this_machine_reaches() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "0.0.0.0", "no such host")] == [
        *(True, True, False, False)
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--port 70000", "--port: '70000': allowed: "),
        ("--host 192.0.2.1 --port 0", "--host 192.0.2.1 --port 0: cannot listen"),
        ("--hotwords zebra", "hotword 'zebra': the model cannot write b z"),
    ],
)
def test_arguments_that_cannot_be(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    said: str,
) -> None:
    monkeypatch.setenv("ASR_API_KEY", "secret")
    model = save_tiny_package(tmp_path / "model")
    assert said in Command(capsys)("serve", "--model", model, *words.split()).error
