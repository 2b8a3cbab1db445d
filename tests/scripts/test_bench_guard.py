"""`scripts/bench_guard.py` sees a call that costs more, and says what it cannot time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contracts.tree import REPO

SEARCH = """
import time

class GreedyDecoder:
    def __call__(self, log_probs, lengths):
        time.sleep({seconds})
"""


def wheel(path: Path, **files: str) -> Path:
    """A wheel with some modules of ``asr.decode``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("asr/__init__.py", "")
        archive.writestr("asr/decode/__init__.py", "")
        for name, text in files.items():
            archive.writestr(f"asr/decode/{name}.py", text)
    return path


def guard(*words: str | Path) -> subprocess.CompletedProcess[str]:
    script = REPO / "scripts" / "bench_guard.py"
    return subprocess.run(
        [sys.executable, script, *words, "--rounds", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(("seconds", "code"), [(0, 1), (0.3, 0)])
def test_a_call_that_costs_more_is_seen(tmp_path: Path, seconds: float, code: int) -> None:
    before = wheel(tmp_path / "before.whl", greedy=SEARCH.format(seconds=seconds))
    done = guard(before, "--only", "greedy")
    assert done.returncode == code, done.stderr
    _, line, *_ = done.stdout.splitlines()
    assert line.startswith("greedy search 16 x 30 s")
    assert line.endswith("  slower") is bool(code)
    assert ("slower by more than 3 %: greedy search" in done.stderr) is bool(code)


def test_what_older_code_does_not_have_is_no_failure(tmp_path: Path) -> None:
    done = guard(wheel(tmp_path / "before.whl"), "--only", "greedy")
    assert done.returncode == 0
    assert "not timed: ModuleNotFoundError: No module named 'asr.decode.greedy'" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no wheel, and no revision of"),
        (["nowhere.whl"], "nowhere.whl: not a wheel that can be read"),
        (["HEAD", "--only", "tea"], "--only tea: in none of encoder none 1 s"),
        (["HEAD", "--limit", "nan"], "allowed: --rounds 3 or more"),
    ],
)
def test_what_cannot_be_compared(words: list[str], message: str) -> None:
    done = guard(*words)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
