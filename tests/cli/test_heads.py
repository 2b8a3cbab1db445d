"""Commands refuse a head that they cannot serve, by name and in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asr.cli.main import main
from tests.decode.package import save_tiny_package
from tests.model.configs import CONFIG

TRANSDUCER = {
    **CONFIG,
    "head": {"_target_": "asr.head.transducer.TransducerHead", "predictor_width": 8},
    "decode": {"_target_": "asr.decode.transducer.TransducerGreedy"},
}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["analyze", "--data", "a.jsonl.gz"], "asr analyze does not serve .* transducer head"),
        (["transcribe", "a.wav", "--beam", "4"], "searches what a ctc head gives"),
    ],
)
def test_a_transducer_is_refused_with_the_reason(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_package(tmp_path / "model", TRANSDUCER)

    assert main([*words, "--model", str(folder)]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"asr {words[0]}: error: ")
    assert re.search(reason, line)
