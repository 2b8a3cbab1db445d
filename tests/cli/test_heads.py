"""Commands refuse a head that they cannot serve, by name and in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from asr.cli.main import main
from tests.decode.package import save_tiny_package
from tests.model.configs import CONFIG

TRANSDUCER = {
    **CONFIG,
    "head": {"_target_": "asr.head.transducer.TransducerHead", "predictor_width": 8},
    "decode": {"_target_": "asr.decode.transducer.TransducerGreedy"},
}


HYBRID = {
    **CONFIG,
    "head": {"_target_": "asr.head.hybrid.HybridHead", "num_layers": 1, "ffn_dim": 16},
    "decode": {"_target_": "asr.decode.hybrid.HybridBeam"},
}


@pytest.mark.parametrize(
    ("config", "words", "reason"),
    [
        (
            TRANSDUCER,
            ["analyze", "--data", "a.jsonl.gz"],
            "asr analyze does not serve .* transducer head",
        ),
        (TRANSDUCER, ["transcribe", "a.wav", "--skip-blank", "0.9"], "is not an option of"),
        (
            HYBRID,
            ["transcribe", "a.wav", "--skip-blank", "0.9"],
            "--skip-blank is not an option of the search hybrid",
        ),
        (HYBRID, ["transcribe", "a.wav", "--search", "greedy"], "is a search for a ctc head"),
        (HYBRID, ["transcribe", "a.wav", "--search", "best"], "--search 'best': allowed: beam, "),
        (HYBRID, ["transcribe", "a.wav", "--search", "hybrid,width=3"], "'width=3': allowed: KEY="),
        (HYBRID, ["transcribe", "a.wav", "--search", "hybrid,beam=0"], "decode.beam=0: allowed"),
        (HYBRID, ["transcribe", "a.wav", "--search", "rescore", "--beam", "3"], "give beam=N"),
        (HYBRID, ["export", "--out", "b.onnx"], "asr export does not serve .* hybrid head"),
    ],
)
def test_a_head_is_refused_with_the_reason(
    config: dict[str, Any],
    words: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = save_tiny_package(tmp_path / "model", config)

    assert main([*words, "--model", str(folder)]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"asr {words[0]}: error: ")
    assert re.search(reason, line)
