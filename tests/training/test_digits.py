"""Real speech: spoken digits of three people, learnt in 240 steps.

The recipe tests on a fourth person, which takes the whole recipe; here the training set must be
learnt, within seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runs import REPO, asr_process

WER_BOUND = 15.0
AUGMENTATION = ("specaugment", "speed", "silence", "noise")  # not for learning by heart

pytestmark = pytest.mark.training


def test_real_digits_are_learnt(speech_dir: Path, tmp_path: Path) -> None:
    words = ("prepare", "folder", speech_dir / "fsdd", "--out", "data/digits", "--jobs", "1")
    assert asr_process(words, tmp_path).code == 0
    done = asr_process(
        [
            *("train", REPO / "recipes" / "digits.yaml", "--run-dir", "run", "--no-latency"),
            *("encoder.num_layers=2", "splits.dev=null", "splits.test=[train]", "--json", "-"),
            *("train.trainer.max_steps=240", "train.trainer.validate_every_steps=null"),
            *("train.optim.peak_lr=5.0e-3", "train.averaging.kind=none"),
            *(f"features.{part}=null" for part in AUGMENTATION),
        ],
        tmp_path,
    )
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["wer"]["train"]["words"] == 750
    assert row["wer"]["train"]["wer"] < WER_BOUND
