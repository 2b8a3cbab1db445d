from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.text.tokenizer import Tokenizer

WORDS = ("ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO")


@pytest.fixture
def write_tone() -> Callable[..., Path]:
    """Writes a tone whose pitch is its own, so that recordings can be told apart."""

    def write(
        path: Path, duration_s: float = 0.5, *, sample_rate_hz: int = 16_000, channels: int = 1
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
        pitch_hz = 200 + sum(path.stem.encode()) % 500
        tone = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s).astype(np.float32)
        soundfile.write(path, np.stack([tone] * channels, axis=1), sample_rate_hz)
        return path

    return write


@pytest.fixture
def make_manifest(tmp_path: Path, write_tone: Callable[..., Path]) -> Callable[..., Path]:
    """A manifest of tones with these lengths in seconds."""

    def make(durations_s: Sequence[float], *, audio: bool = True) -> Path:
        utterances = []
        for index, duration_s in enumerate(durations_s):
            path = tmp_path / "audio" / f"u{index:04d}.wav"
            if audio:
                write_tone(path, duration_s)
            text = " ".join(WORDS[: 1 + index % len(WORDS)])
            speaker = f"s{index % 7}"
            utterances.append(
                CheckedUtterance(f"u{index:04d}", path, 0.0, duration_s, 16_000, 1, text, speaker)
            )
        manifest = tmp_path / "train.jsonl.gz"
        write_manifest(utterances, manifest)
        assert len(read_manifest(manifest)) == len(durations_s)
        return manifest

    return make


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)], kind="char", vocab_size=40)
