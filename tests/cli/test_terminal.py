"""Terminals of any encoding, and streams that are closed or full."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .runs import environment

ENCODINGS = ("ascii", "latin-1", "utf-8")
EMOJI = "é 音 😀 \\udcff"
PRINTS_JSON = (
    "import json, sys, types\n"
    "from asr.cli import main as frame\n"
    "from asr.errors import InputError\n"
    "verb = types.ModuleType('verb')\n"
    "verb.add_arguments = lambda parser: None\n"
    "def run(args):\n"
    f"    print(json.dumps('{EMOJI}', ensure_ascii=False))\n"
    f"    raise InputError('{EMOJI}.wav: missing')\n"
    "verb.run = run\n"
    "frame._load = lambda name: verb\n"
    "sys.exit(frame.main(['bench']))\n"
)


def shell(script: str, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs ``script`` with Python as ``$0`` and ``words`` behind it."""
    return subprocess.run(
        ["bash", "-c", script, sys.executable, *words],
        capture_output=True,
        env={**environment(), **variables},
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_the_encoding_lacks_is_escaped_as_in_json(encoding: str) -> None:
    done = shell('"$0" -c "$1"', PRINTS_JSON, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    text = done.stdout.decode(encoding)
    assert json.loads(text) == "é 音 😀 \udcff"
    error = done.stderr.decode(encoding)
    assert error.startswith("asr bench: error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('"$0" -m asr --help | head -0; exit ${PIPESTATUS[0]}', {0, 141}),
        ('"$0" -m asr transcribe --help | head -0; exit ${PIPESTATUS[0]}', {0, 141}),
        ('"$0" -m asr transcribe x 2>&1 | head -0; exit ${PIPESTATUS[0]}', {2, 141}),
        ('"$0" -m asr --help >&-', {0}),
        ('"$0" -m asr bench --nonsense 2>&-', {2}),
        ('"$0" -m asr --version <&- >&- 2>&-', {0}),
        ('"$0" -c "$1" >&-', {2}),
        ('"$0" -c "$1" > /dev/full', {2, 3}),
    ],
)
def test_streams_that_nobody_reads(script: str, code: set[int]) -> None:
    done = shell(script, PRINTS_JSON)
    assert done.returncode in code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_closed_output_is_told() -> None:
    done = shell('"$0" -c "$1" >&-', PRINTS_JSON)
    first = done.stderr.decode().splitlines()[0]
    assert first == "asr: warning: standard output is closed; output is lost"
