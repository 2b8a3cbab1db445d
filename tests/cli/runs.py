"""A corpus of tones, a recipe for it that trains in seconds, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from asr.audio.write import write_audio
from asr.cli.main import main
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.types import Waveform

SAMPLE_RATE_HZ = 8000
REPO = Path(__file__).parents[2]
PITCHES_HZ = {"LOW": 300.0, "MID": 900.0, "HIGH": 2000.0}

RECIPE = """\
# Names of tones.
defaults:
  - features: [fbank, normalize]
  - text: [normalize, tokenizer]
  - data: [dataset, batching, loader]
  - reuse: none
  - encoder: conformer_xs
  - head: ctc
  - decode: greedy
  - metrics: [latency]
  - train: [optim, trainer, averaging]
  - _self_

name: tones
seed: 0
init: null

splits:
  folder: {folder}
  train: train
  dev: dev
  test: [test]

features:
  fbank:
    sample_rate_hz: 8000
    num_mel_bins: 20

text:
  tokenizer:
    kind: char
    vocab_size: 20

data:
  batching:
    max_duration_s: 6
    num_buckets: 2
  loader:
    num_workers: 0

encoder:
  num_layers: 2
  d_model: 16
  num_heads: 2
  ffn_dim: 32
  conv_kernel_size: 5
  subsampling_channels: 8
  dropout: 0.0

metrics:
  latency:
    lengths_s: [0.5, 1]
    repeats: 2
    warmup: 0
    num_threads: 1

train:
  trainer:
    max_steps: 12
    accelerator: cpu
    num_threads: 1
  averaging:
    kind: none
"""


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr of a command that refused its input."""
        assert self.code == 2, self
        assert self.err.startswith("asr "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        assert self.out == ""
        return self.err


class Command:
    """Calls `asr` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Outcome:
        self._capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        out, err = self._capsys.readouterr()
        return Outcome(code, out, err)


def environment() -> dict[str, str]:
    """For processes that find this checkout from any folder."""
    return {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}


def asr_process(words: Sequence[str | Path], folder: Path) -> Outcome:
    """`python -m asr` as a shell runs it, in ``folder``."""
    command = [sys.executable, "-m", "asr", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())
    return Outcome(done.returncode, done.stdout, done.stderr)


def tones(text: str, seed: int) -> Waveform:
    """Each word as a tone of 0.25 s, with some noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    words = [np.sin(2 * np.pi * PITCHES_HZ[word] * time_s) for word in text.split()]
    samples = 0.3 * np.concatenate(words)
    samples += 0.01 * generator.normal(size=len(samples))
    return Waveform(samples.astype(np.float32), SAMPLE_RATE_HZ)


def write_corpus(folder: Path, num_train: int = 24) -> Path:
    """Audio and the manifests train, dev and test in ``folder``."""
    generator = np.random.default_rng(0)
    for split, num_utterances in (("train", num_train), ("dev", 4), ("test", 6)):
        utterances = []
        for index in range(num_utterances):
            text = " ".join(generator.choice(list(PITCHES_HZ), size=1 + index % 4))
            path = folder / "audio" / f"{split}-{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            waveform = tones(text, index)
            write_audio(path, waveform)
            utterances.append(
                CheckedUtterance(
                    path.stem, path, 0.0, waveform.duration_s, SAMPLE_RATE_HZ, 1, text, f"s{split}"
                )
            )
        write_manifest(utterances, folder / f"{split}.jsonl.gz")
    return folder


def write_recipe(path: Path, corpus: Path) -> Path:
    """The recipe above for the manifests in ``corpus``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(RECIPE.format(folder=corpus))
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder``, to see that nothing changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }
