from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.data.manifest import CheckedUtterance, write_manifest
from tests.data.corpora.server import Site, serve

from .noise import write_noise

LENGTHS_S = (0.5, 0.3, 0.8, 0.2, 0.6)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Five utterances, the third a stretch of a longer file of two channels."""
    utterances = []
    for number, length_s in enumerate(LENGTHS_S):
        path = tmp_path / "audio" / f"{number}.wav"
        lead_s, channels = (0.25, 2) if number == 2 else (0.0, 1)
        write_noise(path, lead_s + length_s, channels=channels, seed=number)
        name = f"some/u{number}" if number == 4 else f"u{number}"
        utterances.append(
            CheckedUtterance(
                name, path, lead_s, length_s, 16_000, channels, f"TEXT {number}", "anna"
            )
        )
    write_manifest(utterances, tmp_path / "train.jsonl.gz")
    return tmp_path / "train.jsonl.gz"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    with serve(Site()) as running:
        yield running
