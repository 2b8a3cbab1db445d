from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from asr.train.averaging import AveragingSpec
from asr.train.control import Limits
from asr.train.module import AsrModule
from asr.train.progress import _Status
from asr.train.state import RunningMeans, RunState
from tests.train.standin import run_fit


def test_lines_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_fit(tmp_path, max_steps=6, validate_every_steps=3)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len([line for line in lines if line.startswith("step ")]) == 2, err
    (last,) = (line for line in lines if line.startswith("step 6/6, epoch 2, "))
    for word in ("loss ", "per token ", "lr 1.0e-02", "dev WER ", "data wait ", "s/s", "left 0 s"):
        assert word in last
    assert [line[:7] for line in lines[1:5]] == ["  ref: ", "  hyp: "] * 2


def make_status(state: RunState, limits: Limits, total_steps: int | None) -> _Status:
    module = AsrModule.__new__(AsrModule)
    module.__dict__["running_means"] = []
    one = _Status(state, limits, total_steps)
    one.start(module)
    return one


def test_time_left_goes_by_the_pace_since_the_start() -> None:
    state = RunState(num_steps=100, train_s=1000.0)  # a slow past, which a resumed run leaves
    one = make_status(state, Limits(max_steps=300), 300)
    assert one.left_s() is None
    state.num_steps, state.train_s = 150, 1025.0
    assert one.left_s() == pytest.approx(75.0)
    timed = make_status(RunState(num_steps=1, train_s=30.0), Limits(max_minutes=2), None)
    assert timed.left_s() == pytest.approx(90.0)
    assert make_status(RunState(), Limits(max_epochs=3), None).left_s() is None


def test_examples_and_a_hint_where_all_is_empty() -> None:
    state = RunState(num_steps=3, last_wer=100.0)
    module = AsrModule.__new__(AsrModule)
    module.__dict__.update(running_means=[], lr=0.1, examples=[("A  B", ""), ("C", "C" * 300)])
    one = _Status(state, Limits(max_steps=5), 5)
    one.start(module)
    module.__dict__["all_empty"] = True
    step, *said, hint = one.validation_lines(module)
    assert step.startswith("step 3/5, ")
    assert said[:2] == ["  ref: A B", "  hyp: (empty)"]
    assert said[3].endswith("C…")
    assert len(said[3]) < 210
    assert "every hypothesis is empty" in hint
    assert "text.tokenizer.vocab_size" in hint
    assert "every hypothesis is still empty" in one.validation_lines(module)[-1]
    module.__dict__["all_empty"] = False
    assert len(one.validation_lines(module)) == 5


def test_a_loss_per_token_weighs_batches_by_their_tokens() -> None:
    means = RunningMeans()
    for loss, num_utterances, num_tokens in ((10.0, 2, 4), (30.0, 1, 10)):
        means.add(
            wait_s=0.0,
            audio_s=1.0,
            loss=torch.tensor(loss),
            num_utterances=num_utterances,
            num_tokens=torch.tensor(num_tokens),
        )
    assert means.read()["loss_per_token"] == pytest.approx((20 + 30) / 14)
    assert "loss_per_token" not in means.read()


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


def test_means_are_over_the_batches_since_the_last_read() -> None:
    means = RunningMeans()
    means.add(wait_s=0.0, audio_s=1.0, loss=torch.tensor(2.0))
    means.add(wait_s=0.0, audio_s=1.0, loss=torch.tensor(4.0))
    means.add(wait_s=0.0, audio_s=1.0, loss=None)
    assert means.read()["train_loss"] == 3.0
    assert "train_loss" not in means.read()
    means.add(wait_s=5.0, audio_s=1.0, loss=torch.tensor(8.0))
    found = means.read()
    assert found["train_loss"] == 8.0
    assert found["data_wait_share"] == 1.0
