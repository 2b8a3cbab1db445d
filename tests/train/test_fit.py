from __future__ import annotations

import errno
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.errors import InputError, RunError
from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import read_checkpoint
from asr.train.optim import AdamWSpec
from asr.types import Batch
from tests.train.standin import TinyLoader, TinyModel, logged, make_batch, run_fit

EMA = AveragingSpec(kind="ema", decay=0.9)
COSINE = AdamWSpec(peak_lr=0.02, warmup_fraction=0.1, decay="cosine")


def interrupt_at(utterance_id: str, number: int = signal.SIGINT) -> TinyModel:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        if batch.utterance_ids[0] == utterance_id:
            os.kill(os.getpid(), number)
        return loss

    model.after_loss = after_loss
    return model


def test_training_learns_the_task(tmp_path: Path) -> None:
    model = TinyModel(dropout=0.0)
    result = run_fit(
        tmp_path,
        model=model,
        loader=TinyLoader(20),
        max_steps=150,
        validate_every_epochs=2,
        averaging=AveragingSpec(kind="ema", decay=0.9),
        optim=AdamWSpec(peak_lr=0.03, warmup_steps=10, decay="cosine"),
        log_every_steps=10,
    )
    wers = logged(tmp_path, "dev_wer")
    assert list(wers) == [40, 80, 120, 150]
    assert result.best_wer == min(wers.values())
    assert result.last_wer == wers[150]
    assert result.last_wer < 10
    assert logged(tmp_path, "dev_loss")[150] < 0.2 * logged(tmp_path, "train_loss")[10]
    assert (result.num_steps, result.num_epochs, result.weights) == (150, 7, "averaged")
    assert result.audio_s == pytest.approx(150 * 4 * 320 / 16_000)  # no frontend: 16 kHz assumed
    assert 0 < result.data_wait_share < 1
    assert result.cpu_s > 0
    assert list((tmp_path / "logs").glob("events.out.tfevents.*"))
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("validate_every_steps", [None, 4])
def test_losses_after_a_resume_equal_an_uninterrupted_run(
    tmp_path: Path, accumulate: int, validate_every_steps: int | None
) -> None:
    settings = {
        "max_steps": 11,
        "accumulate": accumulate,
        "validate_every_steps": validate_every_steps,
        "averaging": EMA,
        "optim": COSINE,
    }
    whole, resumed = TinyModel(), TinyModel(seed=5)
    run_fit(tmp_path / "whole", model=whole, **settings)  # type: ignore[arg-type]
    # Interrupted in the middle of the second epoch; with accumulation the step still ends.
    first = run_fit(tmp_path / "cut", model=interrupt_at("utt-101-0"), **settings)  # type: ignore[arg-type]
    assert first.interrupted
    assert first.num_steps == {1: 7, 2: 4}[accumulate]
    random_noise = torch.rand(7)  # a new process starts elsewhere
    assert len(random_noise) == 7
    second = run_fit(tmp_path / "cut", model=resumed, resume=True, seed=77, **settings)  # type: ignore[arg-type]
    assert (second.num_steps, second.interrupted) == (11, False)
    assert second.train_s > first.train_s
    for column in ("train_loss", "lr", "grad_norm"):
        assert logged(tmp_path / "cut", column) == logged(tmp_path / "whole", column)
    assert len(logged(tmp_path / "whole", "train_loss")) == 11
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_resume_from_a_validation_after_a_crash(tmp_path: Path) -> None:
    settings = {"max_steps": 12, "validate_every_epochs": 1, "averaging": EMA, "optim": COSINE}
    run_fit(tmp_path / "whole", **settings)  # type: ignore[arg-type]

    def crash(seed: int) -> Batch:
        if seed == 103:
            raise OSError("disk gone")
        return make_batch(seed)

    with pytest.raises(OSError, match="disk gone"):
        run_fit(tmp_path / "cut", loader=TinyLoader(make=crash), **settings)  # type: ignore[arg-type]
    assert read_checkpoint(tmp_path / "cut/checkpoints/last.ckpt")["run"]["num_steps"] == 5
    run_fit(tmp_path / "cut", resume=True, **settings)  # type: ignore[arg-type]
    for column in ("train_loss", "dev_wer", "dev_loss"):
        assert logged(tmp_path / "cut", column) == logged(tmp_path / "whole", column)


@pytest.mark.parametrize(
    ("rhythm", "saved"), [({"save_every_steps": 8}, 8), ({"save_every_minutes": 1e-9}, 12)]
)
def test_a_run_is_saved_between_validations(
    tmp_path: Path, rhythm: dict[str, float], saved: int
) -> None:
    settings = {"max_steps": 20, "averaging": EMA, "optim": COSINE, "accumulate": 1}
    run_fit(tmp_path / "whole", **settings)  # type: ignore[arg-type]

    def crash(seed: int) -> Batch:
        if seed == 204:  # batches are read ahead of the one that is trained on
            raise OSError("disk gone")
        return make_batch(seed)

    with pytest.raises(OSError, match="disk gone"):
        run_fit(tmp_path / "cut", loader=TinyLoader(make=crash), **settings, **rhythm)  # type: ignore[arg-type]
    assert read_checkpoint(tmp_path / "cut/checkpoints/last.ckpt")["run"]["num_steps"] == saved
    assert run_fit(tmp_path / "cut", resume=True, **settings).num_resumed == 1  # type: ignore[arg-type]
    for column in ("train_loss", "lr", "dev_wer", "dev_loss"):
        assert logged(tmp_path / "cut", column) == logged(tmp_path / "whole", column)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1)])
def test_a_run_may_go_on_with_another_accumulation(tmp_path: Path, before: int, after: int) -> None:
    run_fit(tmp_path, max_steps=3, accumulate=before, validate_every_steps=2)
    loader = TinyLoader()
    result = run_fit(tmp_path, loader=loader, max_steps=6, accumulate=after, resume=True)
    assert result.num_steps == 6
    assert loader.seeds[0] == {3: 3, 9: 104}[3 * before]
    assert set(logged(tmp_path, "train_loss")) == {1, 2, 3, 4, 5, 6}


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def fill_up(checkpoint: dict[str, Any], file: Any) -> None:
        if checkpoint["run"]["num_steps"] == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(RunError, match=r"last\.ckpt cannot be written: no space left .*MiB free"):
        run_fit(tmp_path, max_steps=9, save_every_steps=3, has_dev=False)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["run"]["num_steps"] == 3


def test_an_interrupted_run_leaves_usable_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    model = interrupt_at("utt-102-0", signal.SIGTERM)
    result = run_fit(tmp_path, model=model, max_steps=50, validate_every_steps=4, averaging=EMA)
    assert (result.interrupted, result.num_steps, result.weights) == (True, 8, "averaged")
    assert "SIGTERM: stopping after this step" in capfd.readouterr().err
    saved = read_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert torch.equal(saved["state_dict"]["model.leave.weight"], model.leave.weight)
    assert not torch.equal(saved["current_model_state"]["model.leave.weight"], model.leave.weight)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_interrupt_aborts(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    model = interrupt_at("utt-101-0")
    once = model.after_loss
    model.after_loss = lambda batch, loss: once(batch, once(batch, loss))
    with pytest.raises(KeyboardInterrupt):
        run_fit(tmp_path, model=model, max_steps=50, validate_every_steps=4)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["run"]["num_steps"] == 4


def test_resume_of_a_finished_run_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run_fit(tmp_path, max_steps=6, averaging=EMA)
    model, loader = TinyModel(seed=3), TinyLoader()
    with caplog.at_level(logging.WARNING):
        second = run_fit(
            tmp_path, model=model, loader=loader, resume=True, max_steps=6, averaging=EMA
        )
    assert "finished at step 6" in caplog.text
    assert second.train_s <= first.train_s
    times = {"train_s": 0.0, "cpu_s": 0.0, "data_wait_share": 0.0}
    assert replace(second, **times) == replace(first, **times)  # type: ignore[arg-type]
    assert loader.seeds == []
    saved = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["state_dict"]
    assert torch.equal(model.enter.weight, saved["model.enter.weight"])
    third = run_fit(tmp_path, model=model, resume=True, max_steps=8, averaging=EMA)
    assert third.num_steps == 8


def test_without_averaging_the_best_weights_stay(tmp_path: Path) -> None:
    model = TinyModel(dropout=0.0)
    result = run_fit(
        tmp_path,
        model=model,
        max_steps=120,
        validate_every_steps=10,
        optim=AdamWSpec(peak_lr=0.03, warmup_steps=10, decay="constant"),
        log_every_steps=10,
    )
    wers = logged(tmp_path, "dev_wer")
    best_step = min(wers, key=lambda step: (wers[step], step))
    assert (result.weights, result.best_step, result.best_wer) == (
        "best",
        best_step,
        wers[best_step],
    )
    best = read_checkpoint(tmp_path / "checkpoints/best.ckpt")
    assert (best["step"], best["dev_wer"]) == (best_step, wers[best_step])
    assert torch.equal(best["model"]["leave.weight"], model.leave.weight)


def test_best_checkpoint_holds_the_averaged_weights_that_were_validated(tmp_path: Path) -> None:
    model = TinyModel()
    run_fit(tmp_path, model=model, max_steps=5, averaging=EMA)
    best = read_checkpoint(tmp_path / "checkpoints/best.ckpt")
    assert torch.equal(best["model"]["enter.weight"], model.enter.weight)
    assert best["model"].keys() == model.state_dict().keys()


def test_epochs_and_minutes_end_a_run(tmp_path: Path) -> None:
    result = run_fit(tmp_path / "epochs", max_epochs=2, validate_every_epochs=1)
    assert (result.num_steps, result.num_epochs) == (10, 2)
    assert list(logged(tmp_path / "epochs", "dev_wer")) == [5, 10]
    result = run_fit(tmp_path / "minutes", max_minutes=0.001, has_dev=False)
    assert result.num_steps >= 1
    assert 0.06 <= result.train_s < 30
    assert (result.best_wer, result.last_wer, result.weights) == (None, None, "last")


def test_input_errors_name_the_file(tmp_path: Path) -> None:
    run_fit(tmp_path, max_steps=1, has_dev=False)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError, match=r"last\.ckpt: a run is there already"):
        run_fit(tmp_path, max_steps=2)
    with pytest.raises(InputError, match=r"of another model: enter\.weight is \(24, 16\)"):
        run_fit(tmp_path, model=TinyModel(dim=8), resume=True, max_steps=2)
    with pytest.raises(InputError, match=r"train\.averaging\.kind: .* without averaging"):
        run_fit(tmp_path, averaging=EMA, resume=True, max_steps=2)
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        run_fit(tmp_path, resume=True, max_steps=2)


def test_resume_without_a_checkpoint_starts_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = run_fit(tmp_path, resume=True, max_steps=2, has_dev=False)
    assert result.num_steps == 2
    assert caplog.text == ""


def test_bf16_keeps_the_weights_in_fp32(tmp_path: Path) -> None:
    model = TinyModel()
    run_fit(tmp_path, model=model, max_steps=3, precision="bf16")
    assert model.leave.weight.dtype == torch.float32
    assert all(torch.isfinite(torch.tensor(list(logged(tmp_path, "train_loss").values()))))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_leaves_a_bad_step_out(tmp_path: Path, precision: str) -> None:
    model = TinyModel()
    model.after_loss = lambda batch, loss: (
        loss * torch.nan if batch.utterance_ids[0] == "utt-3-0" else loss
    )
    settings = {"accelerator": "gpu", "precision": precision, "averaging": EMA}
    result = run_fit(tmp_path, model=model, max_steps=45, **settings)  # type: ignore[arg-type]
    assert result.num_skipped >= 1
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    again = run_fit(tmp_path, model=model, max_steps=50, resume=True, **settings)  # type: ignore[arg-type]
    assert again.num_steps == 50
