"""The quick start at reduced size, through the command line: does training work at all?

Eighty synthetic utterances are learnt by heart, with shared attention (`test_digits` has none). A
model that has not learnt scores 100 % or more on them; a bug in features, loss, optimiser,
tokenizer, decoding or reuse leaves it there.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asr.report.hypotheses import read_hypotheses
from tests.cli.runs import REPO, asr_process

WER_BOUND = 20.0
NUM_STEPS = 400
RECIPE = REPO / "recipes" / "quickstart.yaml"

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="needs the synthetic extra"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus in data/synthetic, as the recipe wants it."""
    folder = tmp_path_factory.mktemp("quickstart")
    words = "prepare synthetic --num-train 80 --num-dev 4 --num-test 4 --jobs 1"
    assert asr_process(words.split(), folder).code == 0
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, Any]:
    """The row of a schedule that shares attention, trained by a comparison."""
    done = asr_process(
        [
            *("compare", RECIPE, "reuse=probs", "splits.test=[train]"),
            *(f"train.trainer.max_steps={NUM_STEPS}", "train.trainer.num_threads=1"),
            *("features.silence.probability=0", "features.noise.probability=0"),
            *("metrics.latency.lengths_s=[1]", "metrics.latency.repeats=1"),
            *("--jobs", "1", "--json", "-"),
        ],
        folder,
    )
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    return dict(row)


def test_it_learns_its_training_set(trained: dict[str, Any]) -> None:
    assert trained["schedule"] == "LFFF"
    assert trained["wer"]["train"]["words"] > 400
    assert trained["wer"]["train"]["wer"] < WER_BOUND


def test_the_bound_is_out_of_reach_without_training(folder: Path) -> None:
    words = ("train.trainer.max_steps=2", "splits.test=[train]", "--no-latency", "--json", "-")
    done = asr_process(["train", RECIPE, *words, "--run-dir", "untrained"], folder)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["wer"]["train"]["wer"] > 2 * WER_BOUND


def test_the_model_transcribes_what_it_has_learnt(folder: Path, trained: dict[str, Any]) -> None:
    (path,) = folder.glob("runs/quickstart/probs-*/hypotheses/train.jsonl")
    learnt = [one for one in read_hypotheses(path) if one.ref == one.hyp][:3]
    files = [str(one.audio_path) for one in learnt]
    done = asr_process(["transcribe", *files, "--model", path.parents[1] / "model"], folder)
    assert done.out.splitlines() == [f"{one.audio_path}\t{one.ref}" for one in learnt]
