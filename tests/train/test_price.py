from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from asr.profiling.memory import available_mib, in_use_mib
from asr.train import price as module
from asr.train.price import (
    BatchPrice,
    Stepper,
    largest_num_utterances,
    mean_step_s,
    price_data,
    repeated_batch,
)
from asr.train.stream import StreamItem
from asr.types import Batch
from tests.train.standin import SAMPLE_RATE_HZ, TinyModel, make_batch

MIB_AN_UTTERANCE = 8


def make_stepper(model: TinyModel, device: str = "cpu") -> Stepper:
    return Stepper(
        model,
        model.loss,  # type: ignore[arg-type]
        sample_rate_hz=SAMPLE_RATE_HZ,
        dtype="float32",
        device=torch.device(device),
    )


def hungry() -> TinyModel:
    """Takes so many MiB an utterance, in one block that is handed back at once."""
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        block = torch.ones(len(batch) * MIB_AN_UTTERANCE * 2**18, device=loss.device)
        return loss + 0 * block[0]

    model.after_loss = after_loss
    return model


def test_a_step_is_real_but_changes_no_weight() -> None:
    model = TinyModel()
    before = model.leave.weight.clone()
    price = make_stepper(model).price(make_batch(3, num_utterances=5))
    assert (price.num_utterances, price.longest_s) == (5, 320 / SAMPLE_RATE_HZ)
    assert 0 < price.fastest_s <= price.step_s <= price.slowest_s < 5
    assert torch.equal(model.leave.weight, before)
    assert model.norm.num_batches_tracked is not None
    assert int(model.norm.num_batches_tracked) >= 4


def test_memory_of_a_cpu_is_measured() -> None:
    price = make_stepper(hungry()).price(make_batch(3, num_utterances=8))
    if price.above_mib is None:
        pytest.skip("the kernel does not tell the peak memory of a process")
    assert price.above_mib == pytest.approx(8 * MIB_AN_UTTERANCE, rel=0.2)


@pytest.mark.parametrize("most", [0, 1, 7, 8, 30, 100])
def test_an_accelerator_is_filled_until_it_is_full(most: int) -> None:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    model.after_loss = after_loss
    stepper, batch = make_stepper(model), make_batch(3, num_utterances=8)
    assert most / 1.06 <= largest_num_utterances(stepper, batch, most=1000) <= most
    assert largest_num_utterances(stepper, batch, most=6) == min(6, most)


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    model = TinyModel()

    def after_loss(batch: Batch, loss: Tensor) -> Tensor:
        raise RuntimeError("a defect")

    model.after_loss = after_loss
    with pytest.raises(RuntimeError, match="a defect"):
        make_stepper(model).fits(make_batch(3))


def test_a_batch_costs_what_the_largest_of_its_bucket_does() -> None:
    def price(num_utterances: int, longest_s: float, step_s: float) -> BatchPrice:
        return BatchPrice(
            num_utterances=num_utterances,
            longest_s=longest_s,
            step_s=step_s,
            fastest_s=step_s / 2,
            slowest_s=2 * step_s,
            above_mib=None,
            peak_mib=None,
        )

    prices = [price(5, 2.0, 3.0), price(10, 1.0, 1.0)]
    assert mean_step_s(prices, [(10, 1.0)]) == pytest.approx(1.0)
    assert mean_step_s(prices, [(10, 1.0), (5, 2.0)]) == pytest.approx(2.0)
    assert mean_step_s(prices, [(5, 0.5)]) == pytest.approx(0.25)
    assert mean_step_s(prices, [(4, 1.25)]) == pytest.approx(1.5)
    assert mean_step_s(prices, [(1, 4.0)]) == pytest.approx(1.2)
    assert mean_step_s(prices, [(1, 4.0)], attrgetter("slowest_s")) == pytest.approx(2.4)


def test_waiting_is_told_from_working(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now_s))

    def items() -> Iterator[StreamItem]:
        for seed in range(100):
            pass_time(0.02)
            yield StreamItem(make_batch(seed), 0, False, {}, wait_s=0.02, audio_s=1.0)

    seen: list[str] = []

    def step(batch: Batch) -> None:
        seen.append(batch.utterance_ids[0])
        pass_time(0.06)

    data = price_data(items(), step, num_steps=9, max_s=60.0)
    assert len(seen) == 10
    assert data.first_batch_s == 0.02
    assert data.wait_share == pytest.approx(9 * 0.02 / (10 * 0.06 + 9 * 0.02))
    assert data.step_s == pytest.approx(0.06)
    price_data(items(), step, num_steps=9, max_s=0.1)
    assert len(seen) == 12


def test_a_batch_is_repeated_or_cut() -> None:
    batch = make_batch(1, num_utterances=3)
    more = repeated_batch(batch, 7)
    assert more.utterance_ids == tuple(f"utt-1-{i % 3}" for i in range(7))
    assert torch.equal(more.waveforms_BN[6], batch.waveforms_BN[0])
    assert len(more.token_lengths_B) == len(more.texts) == len(more.token_ids_BU) == 7
    assert repeated_batch(batch, 2).utterance_ids == batch.utterance_ids[:2]


@pytest.mark.gpu
def test_memory_of_a_gpu_is_found_by_filling_it() -> None:
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        stepper, batch = make_stepper(hungry(), "cuda"), make_batch(3, num_utterances=8)
        price = stepper.price(batch)
        assert price.above_mib == pytest.approx(8 * MIB_AN_UTTERANCE, rel=0.2)
        held = in_use_mib("cuda")
        assert held is not None
        assert price.above_mib is not None
        assert price.peak_mib == pytest.approx(held + price.above_mib, rel=0.1)
        found = largest_num_utterances(stepper, batch, most=10**6)
        limit_mib = 0.02 * torch.cuda.get_device_properties(0).total_memory / 2**20
        assert found == pytest.approx((limit_mib - held) / MIB_AN_UTTERANCE, rel=0.15)
        assert (available_mib("cuda") or 0) > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
