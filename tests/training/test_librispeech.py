"""A LibriSpeech recipe from nothing: archives on a server to a comparison, killed on the way.

The recordings are real ones of LibriSpeech in archives of the official structure. The recipe is
the one for 100 hours, made small by overrides only, so nothing is learnt: what must hold is that
every step finds what the one before left.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from asr.report.record import RunRecord
from tests.cli.runs import REPO, asr_process
from tests.cli.test_never_lost import column, training, wait_for_step
from tests.data.corpora.server import Site, folder_files, md5_list, pack, publish, serve

pytestmark = pytest.mark.training

PARTS = {
    "train-clean-100": "train",
    "dev-clean": "dev",
    "test-clean": "test",
    "test-other": "test-other",
}
NUM_WORDS = {"test-clean": 626, "test-other": 607}
RECIPE = str(REPO / "recipes" / "librispeech" / "100h_conformer_s.yaml")
SMALL = [
    *("encoder.num_layers=2", "encoder.d_model=32", "encoder.ffn_dim=64"),
    *("head.intermediate_layers=[0]",),
    *("encoder.subsampling_channels=8", "reuse.group_size=2", "data.batching.max_duration_s=60"),
    *("train.trainer.max_epochs=null", "train.trainer.max_steps=16", "train.trainer.accumulate=1"),
    *("train.trainer.validate_every_epochs=null", "train.trainer.log_every_steps=1"),
    *("train.trainer.precision=fp32", "train.trainer.accelerator=cpu"),
    *("train.trainer.num_threads=1", "data.loader.num_workers=1", "metrics.latency.lengths_s=[1]"),
    *("metrics.latency.repeats=1", "metrics.latency.warmup=0", "metrics.latency.num_threads=1"),
]


def test_from_archives_to_a_comparison(
    speech_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    archives = {
        part: pack(folder_files(speech_dir / "librispeech" / split, part))
        for part, split in PARTS.items()
    }
    with serve(Site()) as site:
        (tmp_path / "md5sum.txt").write_text(md5_list(publish(site, archives)))
        words = ["prepare", "librispeech", "--mirror", site.url, "--checksums", "md5sum.txt"]
        words += [word for part in PARTS for word in ("--part", part)]
        done = asr_process(words, tmp_path)
    assert done.code == 0, done.err
    assert "train-clean-100: 358 utterances" in done.err

    run = ["--run-dir", "run", "train.trainer.print_every_s=0.01", "reuse=probs", *SMALL]
    with training(tmp_path, RECIPE, *run, "train.trainer.save_every_steps=2") as process:
        wait_for_step(process, 5)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = asr_process(["train", RECIPE, *run, "--resume"], tmp_path)
    assert done.code == 0, done.err
    assert "1 times resumed" in done.err
    record = RunRecord.load(tmp_path / "run")
    assert {split: wer.words for split, wer in record.wer.items()} == NUM_WORDS

    sweep = ["reuse=probs", *SMALL, "--jobs", "1", "--json", "-"]
    done = asr_process(["compare", RECIPE, *sweep], tmp_path)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["wer"]["test-clean"]["wer"] == pytest.approx(record.wer["test-clean"].wer)
    (whole,) = (tmp_path / "runs" / "100h_conformer_s").glob("probs-*")
    assert column(whole, "train_loss") == column(tmp_path / "run", "train_loss")
    assert len(column(whole, "train_loss")) == 16
