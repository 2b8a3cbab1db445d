from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asr.train.averaging import AveragingSpec
from asr.train.meter import Meter
from tests.train.standin import run_fit


def test_lines_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_fit(tmp_path, max_steps=6, validate_every_steps=3)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 2, err
    assert lines[1].startswith("step 6/6, epoch 2, ")
    for word in ("loss ", "lr 1.0e-02", "dev WER ", "data wait ", "s/s"):
        assert word in lines[1]


def test_a_bar_on_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run_fit(tmp_path, max_steps=6, validate_every_steps=3, averaging=AveragingSpec(kind="ema"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 1" in err
    assert "dev WER" in err
    assert "data wait" in err
    assert "6/6" in err


def test_a_meter_means_over_what_came_since_the_last_reading() -> None:
    import torch

    meter = Meter()
    meter.add(wait_s=0.0, audio_s=1.0, loss=torch.tensor(2.0))
    meter.add(wait_s=0.0, audio_s=1.0, loss=torch.tensor(4.0))
    meter.add(wait_s=0.0, audio_s=1.0, loss=None)
    assert meter.read()["train_loss"] == 3.0
    assert "train_loss" not in meter.read()
    meter.add(wait_s=5.0, audio_s=1.0, loss=torch.tensor(8.0))
    means = meter.read()
    assert means["train_loss"] == 8.0
    assert means["data_wait_share"] == 1.0
