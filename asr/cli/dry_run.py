"""`asr train RECIPE --dry-run`: what a run will cost, and what fits, before it is begun."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from operator import attrgetter
from typing import Any

import torch

from asr.cli.price_table import Price, price_table
from asr.cli.run_summary import say
from asr.cli.training_setup import TrainingSetup, set_up
from asr.data.batching import Batching
from asr.metrics.memory import available_mib
from asr.model.build import build
from asr.report.encoders import scheduled_layers
from asr.report.hardware import describe_hardware, num_cores
from asr.report.schedule import schedule_text
from asr.report.table import Table
from asr.train.failures import is_out_of_memory, shape
from asr.train.plan import plan_steps
from asr.train.price import (
    BatchPrice,
    DataPrice,
    Stepper,
    largest_num_utterances,
    mean_step_s,
    price_data,
    repeated,
)
from asr.train.state import RunState
from asr.train.stream import TrainStream
from asr.train.trainer import TrainerSpec
from asr.types import Batch, RunError

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "bfloat16"}  # the halves cost the same
_DATA_STEPS = 20
_DATA_S = 20.0
_SECOND_EPOCH = {"epoch": 1, "batch": 0}  # the first may be sorted from short to long


def dry_run(
    config: Mapping[str, Any], *, run: str, allow_unknown: bool = False
) -> tuple[Table, dict[str, Any]]:
    """The price of the run ``run`` as a table, and as a row for ``--json``. Writes nothing.

    Raises:
        InputError: settings or data that cannot work.
        RunError: not a single step fits in memory.
    """
    begun_s = time.perf_counter()
    trainer: TrainerSpec = build(config["train"]["trainer"], "train.trainer")
    device = trainer.device
    if trainer.num_threads is not None:
        torch.set_num_threads(trainer.num_threads)
    setup = set_up(config, allow_unknown=allow_unknown)
    ready_s = time.perf_counter() - begun_s
    price = price_run(config, setup, trainer, device)
    price = replace(price, first_batch_s=ready_s + price.first_batch_s)
    hardware = describe_hardware(device, _DTYPES[trainer.precision])
    row = {
        "run": run,
        "reuse": setup.model.encoder.reuse.name,
        "schedule": schedule_text(scheduled_layers(setup.model.encoder)),
        "num_params": sum(parameter.numel() for parameter in setup.model.parameters()),
        "train_s": 3600 * price.hours,
        "hardware": str(hardware),
        **asdict(price),
    }
    max_duration_s = config["data"]["batching"]["max_duration_s"]
    return price_table(price, str(hardware), max_duration_s=max_duration_s), row


def price_run(
    config: Mapping[str, Any], setup: TrainingSetup, trainer: TrainerSpec, device: torch.device
) -> Price:
    """Times real steps: on the largest batch of every bucket, then on batches as they come."""
    model, loader, distiller = setup.model, setup.train_loader, setup.distiller
    sample_rate_hz = int(model.frontend.sample_rate_hz)
    trainer.checkpoint_activations(model)
    stepper = Stepper(
        model,
        model.loss if distiller is None else lambda batch: distiller.loss(model, batch),
        sample_rate_hz=sample_rate_hz,
        dtype=_DTYPES[trainer.precision],
        device=device,
    )
    prices, worst, worst_price = price_buckets(stepper, setup)
    batching: Batching = build(
        config["data"]["batching"], "data.batching", slowest_s=model.frontend.slowest_s
    )
    most = None
    if device.type == "cuda":  # elsewhere a larger batch costs time, and a full machine kills
        say("looking for the largest batch that fits")
        most = largest_num_utterances(stepper, worst, most=sum(n for n, _ in loader.sizes()))
    say("steps on batches as they come")
    data = price_data(
        TrainStream(loader, sample_rate_hz=sample_rate_hz, position=_SECOND_EPOCH),
        stepper,
        num_steps=_DATA_STEPS,
        max_s=_DATA_S,
    )
    loader.set_epoch(1)
    num_steps = plan_steps(trainer, loader, RunState())
    sizes = loader.sizes()
    steps_s = [
        data.step_s,
        *(mean_step_s(prices, sizes, attrgetter(each)) for each in ("fastest_s", "slowest_s")),
    ]
    hours, low, high = (
        price_hours(trainer, num_steps, data, step_s)
        for step_s in (mean_step_s(prices, sizes), min(steps_s), max(steps_s))
    )
    peaks = [price.peak_mib for price in prices if price.peak_mib is not None]
    return Price(
        batches=tuple(prices),
        num_steps=num_steps,
        hours=hours,
        hours_low=low,
        hours_high=high,
        load_per_core=load_per_core(),
        gpu_hours=hours * trainer.devices * trainer.num_nodes if device.type == "cuda" else None,
        peak_mib=max(peaks, default=None),
        available_mib=available_mib(device),
        first_batch_s=data.first_batch_s,
        data_wait_share=data.wait_share,
        largest_max_duration_s=(
            None if most is None else round(most * batching.cost_s(worst_price.longest_s), 1)
        ),
    )


def load_per_core() -> float | None:
    """Processes of this machine that want to compute, by core; None where nobody can tell."""
    try:
        return os.getloadavg()[0] / num_cores()
    except (OSError, AttributeError):
        return None


def price_buckets(
    stepper: Stepper, setup: TrainingSetup
) -> tuple[list[BatchPrice], Batch, BatchPrice]:
    """Prices from short to long, and the batch that asks most memory a second of audio."""
    prices: list[tuple[BatchPrice, Batch]] = []
    for batch in setup.train_loader.largest_batches():
        try:
            prices.append((stepper.price(batch), batch))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(f"out of memory: {shape(batch)}; {advice(stepper, batch)}") from error
        price = prices[-1][0]
        say(f"{price.num_utterances} x {price.longest_s:.1f} s: {price.step_s:.3f} s a step")
    worst_price, worst = max(prices, key=lambda pair: _mib_a_second(pair[0]))
    return sorted((p for p, _ in prices), key=lambda p: p.longest_s), worst, worst_price


def advice(stepper: Stepper, batch: Batch) -> str:
    """How much of a batch that does not fit would."""
    for parts in (2, 4, 8, 16):
        kept = len(batch) // parts
        if kept and stepper.fits(repeated(batch, kept)):
            return f"{kept} utterances of it fit: divide data.batching.max_duration_s by {parts}"
    return "not even a sixteenth of it fits: lower data.batching.max_utterance_s or the model"


def price_hours(
    trainer: TrainerSpec, num_steps: int | None, data: DataPrice, batch_s: float
) -> float:
    """Hours of ``num_steps``, at most those the minutes allow."""
    most = float("inf") if trainer.max_minutes is None else trainer.max_minutes / 60
    if num_steps is None:
        return most
    busy_s = num_steps * trainer.accumulate * batch_s
    return min(most, busy_s / max(1e-3, 1 - data.wait_share) / 3600)


def _mib_a_second(price: BatchPrice) -> float:
    return (price.above_mib or 0.0) / price.audio_s
