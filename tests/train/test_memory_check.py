from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr.errors import RunError
from asr.train.averaging import AveragingSpec
from asr.types import Batch
from tests.train.standin import TinyModel, logged, make_batch, run_fit

LARGE = make_batch(77, num_utterances=9, num_tokens=5)
EMA = AveragingSpec(kind="ema", decay=0.9)


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    plain, checked = TinyModel(), TinyModel()
    seen = []

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        seen.append(len(batch))
        return loss

    checked.after_loss = after_loss
    run_fit(tmp_path / "plain", model=plain, max_steps=6, averaging=EMA)
    run_fit(tmp_path / "checked", model=checked, max_steps=6, averaging=EMA, largest_batch=LARGE)
    assert seen == [9, *[4] * 6]
    for column in ("train_loss", "grad_norm", "dev_loss"):
        assert logged(tmp_path / "plain", column) == logged(tmp_path / "checked", column)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, checked.state_dict()[name]), name


def test_nothing_is_left_of_it_where_a_run_goes_on(tmp_path: Path) -> None:
    losses = []
    for name, largest in (("plain", None), ("checked", LARGE)):
        run_fit(tmp_path / name, max_steps=4, averaging=EMA, largest_batch=largest)
        run_fit(tmp_path / name, max_steps=9, averaging=EMA, largest_batch=largest, resume=True)
        losses.append(logged(tmp_path / name, "train_loss"))
    assert len(losses[0]) == 9
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_a_batch_too_large_ends_the_run_before_its_first_step(
    tmp_path: Path, error: Exception
) -> None:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        raise error

    model.after_loss = after_loss
    with pytest.raises(RunError) as caught:
        run_fit(tmp_path, model=model, max_steps=3, largest_batch=LARGE)
    assert str(caught.value) == (
        "out of memory in the largest batch, tried first: 9 utterances of up to 512 samples and 5 "
        "tokens (utt-77-0, utt-77-1, utt-77-2, utt-77-3, utt-77-4, utt-77-5, utt-77-6, utt-77-7 "
        "and 1 more); lower data.batching.max_duration_s and raise train.trainer.accumulate instead"
    )
    assert not (tmp_path / "checkpoints").exists()


def test_other_errors_are_not_taken_for_want_of_memory(tmp_path: Path) -> None:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        raise RuntimeError("a defect")

    model.after_loss = after_loss
    with pytest.raises(RuntimeError, match="a defect"):
        run_fit(tmp_path, model=model, max_steps=3, largest_batch=LARGE)


@pytest.mark.gpu
def test_memory_of_a_gpu_fails_first(tmp_path: Path) -> None:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        if len(batch) == len(LARGE):
            torch.empty(2**50, device="cuda")
        return loss

    model.after_loss = after_loss
    with pytest.raises(RunError, match="largest batch, tried first: 9 utterances"):
        run_fit(tmp_path, model=model, max_steps=3, largest_batch=LARGE, accelerator="gpu")
