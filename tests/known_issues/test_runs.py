"""Bugs we had in keeping runs apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli.override import variant_names
from tests.cli.runs import Command, write_corpus, write_recipe


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus", num_train=4))
    return Command(capsys)


def test_a_refused_run_overwrote_the_config_of_the_one_begun(asr: Command) -> None:
    """After it `--resume` took the settings of the refused command for those of the run."""
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/checkpoints/last.ckpt").touch()
    Path("run/config.yaml").write_text("seed: 0\n")
    error = asr("train", "tones.yaml", "seed=1", "--run-dir", "run").error
    assert "run holds a run that has begun" in error
    assert Path("run/config.yaml").read_text() == "seed: 0\n"


def test_a_finished_run_was_shown_for_other_settings(asr: Command) -> None:
    """`--resume` with changed settings printed the result of the old ones as theirs."""
    words = ("train", "tones.yaml", "train.trainer.max_steps=1", "--no-latency", "--run-dir", "run")
    assert asr(*words).code == 0
    assert "run was begun with seed=0, now 1" in asr(*words, "seed=1", "--resume").error


def test_variants_of_one_name_were_one_run() -> None:
    """[1,12] and [11,2] were both called groups112, and the first was lost without a word."""
    names = variant_names([["reuse.groups=[1,12]"], ["reuse.groups=[11,2]"]])
    assert len(set(names)) == 2


def test_a_comparison_found_a_bad_schedule_after_the_good_ones_were_trained(asr: Command) -> None:
    error = asr("compare", "tones.yaml", "reuse=probs", "reuse.group_size=2,3").error
    assert "reuse.group_size=3 does not divide encoder.num_layers=2" in error
    assert not Path("runs").exists()
