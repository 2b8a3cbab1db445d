from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from asr.cli import dry_run as module
from asr.cli.dry_run import time_range
from asr.model.asr_model import AsrModel
from asr.types import Batch

from .runs import Command, files_in, write_corpus, write_recipe

WORDS = ("train", "tones.yaml", "--dry-run", "--run-dir", "run")


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_DATA_STEPS", 4)
    return Command(capsys)


def test_a_run_is_priced_and_nothing_is_written(asr: Command, tmp_path: Path) -> None:
    before = files_in(tmp_path)
    done = asr(*WORDS, "train.trainer.max_steps=1200", "--json", "-")
    assert done.code == 0, done.err
    assert files_in(tmp_path) == before
    (row,) = json.loads(done.out)
    assert (row["run"], row["reuse"], row["schedule"]) == ("run", "none", "A x2")
    assert [(b["num_utterances"], b["longest_s"]) for b in row["batches"]] == [(8, 0.75), (6, 1.0)]
    assert all(batch["step_s"] > 0 for batch in row["batches"])
    steps_s = [1200 * batch["step_s"] for batch in row["batches"]]
    assert 0.3 * min(steps_s) < row["train_s"] * (1 - row["data_wait_share"])
    assert row["train_s"] * (1 - row["data_wait_share"]) < 1.5 * max(steps_s)
    assert row["train_s"] == pytest.approx(3600 * row["hours"])
    assert row["num_steps"] == 1200
    assert row["gpu_hours"] is None
    assert 0 < row["first_batch_s"] < 60
    assert 0 <= row["data_wait_share"] <= 1
    if row["peak_mib"] is not None:
        assert row["peak_mib"] > 50
    said = " ".join(done.err.split())
    assert "8 x 0.75 s" in said
    assert "1,200 steps: " in said
    assert "data.batching.max_duration_s is 6." in said  # and nothing of a largest batch
    assert row["largest_max_duration_s"] is None
    assert 0 < row["hours_low"] <= row["hours"] <= row["hours_high"]
    assert re.search(r"1,200 steps: [\d.]+( to [\d.]+)? (minutes|hours), plus validations", said)


def test_a_range_of_time() -> None:
    assert time_range(0.25, 0.5) == "15.0 to 30.0 minutes"
    assert time_range(0.9, 2.0) == "0.9 to 2.0 hours"
    assert time_range(1234.0, 1234.01) == "1,234.0 hours"


def test_a_batch_that_does_not_fit_is_named(asr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = AsrModel.loss

    def of_few(model: AsrModel, batch: Batch) -> object:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(model, batch)

    monkeypatch.setattr(AsrModel, "loss", of_few)
    done = asr(*WORDS)
    assert done.code == 3
    last = done.err.splitlines()[-1]
    assert last.startswith("asr train: error: out of memory: 6 utterances of up to 8,000 samples")
    assert "train-3, train-" in last
    assert last.endswith("1 utterances of it fit: divide data.batching.max_duration_s by 4")
    trained = asr("train", "tones.yaml", "--run-dir", "run", "--no-latency")
    assert trained.code == 3
    last = trained.err.splitlines()[-1]
    assert "error: out of memory in the largest batch, tried first: 6 utterances" in last
    assert "lower data.batching.max_duration_s and raise train.trainer.accumulate" in last
    assert not Path("run/checkpoints").exists()


def test_a_report_is_refused(asr: Command) -> None:
    assert "--out report: a dry run has no report" in asr(*WORDS, "--out", "report").error
