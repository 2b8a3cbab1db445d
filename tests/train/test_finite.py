from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import read_checkpoint
from asr.train.finite import FiniteGuard, NonFiniteError
from asr.train.state import RunState
from asr.types import Batch
from tests.train.standin import TinyLoader, TinyModel, logged, make_batch, run_fit


def spoil(*utterance_ids: str) -> TinyModel:
    model = TinyModel(dropout=0.0)

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        return loss * torch.nan if batch.utterance_ids[0] in utterance_ids else loss

    model.after_loss = after_loss
    return model


def test_a_bad_step_changes_nothing_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = spoil("utt-2-0", "utt-3-0")
    with caplog.at_level(logging.WARNING):
        result = run_fit(tmp_path, model=bad, max_steps=4, has_dev=False)
    assert result.num_skipped == 2
    assert "step 3 left out: loss not finite, in utt-2-0, utt-2-1, utt-2-2, utt-2-3" in caplog.text
    good = TinyModel(dropout=0.0)
    run_fit(tmp_path / "good", model=good, max_steps=2, has_dev=False)
    for name, value in bad.named_parameters():
        assert torch.equal(value, good.state_dict()[name]), name
    assert set(logged(tmp_path, "train_loss")) == {1, 2}


def test_running_statistics_and_averages_survive_a_bad_waveform(tmp_path: Path) -> None:
    def make(seed: int) -> Batch:
        batch = make_batch(seed)
        if seed == 2:
            batch.waveforms_BN[0, 0] = torch.nan
        return batch

    model = TinyModel()
    averaging = AveragingSpec(kind="ema", decay=0.5)
    result = run_fit(
        tmp_path, model=model, loader=TinyLoader(make=make), max_steps=5, averaging=averaging
    )
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert result.num_skipped == 1


def test_too_many_bad_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    model = TinyModel()
    model.after_loss = lambda batch, loss: loss * torch.inf
    with pytest.raises(NonFiniteError, match=r"20 steps in a row .*, last in utt-304-0.*peak"):
        run_fit(tmp_path, model=model, max_steps=100, has_dev=False)


def test_too_many_bad_steps_of_all_end_the_run(tmp_path: Path) -> None:
    model = TinyModel(dropout=0.0)
    model.after_loss = lambda batch, loss: (
        loss * torch.nan if int(batch.utterance_ids[0].split("-")[1]) % 2 else loss
    )
    words = r"step 12: loss not finite for the 5th time, above .*max_bad_steps=4, last in utt-201-0"
    settings = {"max_steps": 100, "max_bad_steps": 4, "save_every_steps": 2, "has_dev": False}
    with pytest.raises(NonFiniteError, match=words):
        run_fit(tmp_path, model=model, **settings)  # type: ignore[arg-type]
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert (last["run"]["num_steps"], last["run"]["num_skipped"]) == (10, 4)
    assert torch.isfinite(last["state_dict"]["model.enter.weight"]).all()
    with pytest.raises(NonFiniteError, match="above"):
        run_fit(tmp_path, resume=True, model=model, **settings)  # type: ignore[arg-type]


def test_overflows_of_scaled_gradients_are_counted_apart() -> None:
    state = RunState()
    guard = FiniteGuard(TinyModel(), state, scaled=True, max_in_row=20, max_bad=0)
    guard.add_batch(torch.tensor(1.0), ("a",))
    guard.close_step(1, torch.tensor(torch.inf))
    assert (state.num_skipped, state.num_overflows) == (1, 1)
    guard.add_batch(torch.tensor(torch.nan), ("b",))
    with pytest.raises(NonFiniteError, match="last in b"):
        guard.close_step(2, torch.tensor(1.0))


def test_a_batch_where_nothing_is_kept_contributes_zero(tmp_path: Path) -> None:
    def make(seed: int) -> Batch:
        return make_batch(seed) if seed != 1 else crowded()

    def crowded() -> Batch:
        batch = make_batch(1)
        tokens_BU = torch.ones(4, 30, dtype=torch.long)
        return Batch(
            batch.utterance_ids,
            batch.texts,
            batch.waveforms_BN,
            batch.waveform_lengths_B,
            tokens_BU,
            torch.full((4,), 30),
        )

    model = TinyModel()
    result = run_fit(
        tmp_path, model=model, loader=TinyLoader(make=make), max_steps=3, has_dev=False
    )
    assert result.num_left_out == 4
    assert result.num_skipped == 0
    assert logged(tmp_path, "grad_norm")[2] == 0.0
    assert set(logged(tmp_path, "train_loss")) == {1, 3}
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
