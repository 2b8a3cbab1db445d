"""`asr train RECIPE --dry-run`: estimate the time and memory of a run before it starts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Any

import torch

from asr.cli.run_summary import log
from asr.cli.training_setup import TrainingSetup, make_freezing, set_up
from asr.data.batching import Batching
from asr.errors import RunError, is_out_of_memory
from asr.files import write_text
from asr.measure.encoders import scheduled_layers
from asr.model.build import build
from asr.profiling.hardware import describe_hardware, num_cores
from asr.profiling.memory import available_mib
from asr.report.rows import schedule_text
from asr.report.table import Column, Table
from asr.train.failures import describe_batch
from asr.train.price import (
    BatchPrice,
    DataPrice,
    Stepper,
    largest_num_utterances,
    mean_step_s,
    price_data,
    repeated_batch,
)
from asr.train.state import RunState
from asr.train.stream import TrainStream
from asr.train.trainer import TrainerSpec, plan_steps
from asr.types import Batch

_BUSY = 1.5  # processes per core from which other programs affect the timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The estimated cost of a run.

    Attributes:
        hours: hours of training without validations, from the median of the timed steps.
        hours_low, hours_high: the same from the fastest and slowest steps.
        gpu_hours: hours of all GPUs; None without one.
        first_batch_s: seconds from reading the manifests to the first batch.
        largest_max_duration_s: largest ``data.batching.max_duration_s`` that fits in the memory of
            a GPU; None without one.
        available_mib: free memory after the timing.
        load_per_core: runnable processes per core during the timing; None if unknown.
    """

    batches: tuple[BatchPrice, ...]
    num_steps: int | None
    hours: float
    hours_low: float
    hours_high: float
    gpu_hours: float | None
    peak_mib: float | None
    available_mib: float | None
    first_batch_s: float
    data_wait_share: float
    largest_max_duration_s: float | None
    load_per_core: float | None


def price_table(price: Price, hardware: str, *, max_duration_s: float) -> Table:
    """Make the table: a row per bucket, then totals; ``max_duration_s`` is the recipe's."""
    rows = price.batches
    columns = (
        Column("largest batch", tuple(f"{p.num_utterances} x {p.longest_s:.2f} s" for p in rows)),
        Column("s per step", tuple(f"{p.fastest_s:.3f} to {p.slowest_s:.3f}" for p in rows)),
        Column("audio s/s", tuple(f"{p.audio_s / p.step_s:.0f}" for p in rows)),
        Column("peak MiB", tuple(_mib(p.peak_mib) for p in rows)),
    )
    length = "no limit of steps" if price.num_steps is None else f"{price.num_steps:,} steps"
    gpus = "" if price.gpu_hours is None else f", {price.gpu_hours:.3g} GPU-hours"
    largest_s = price.largest_max_duration_s
    fits = "" if largest_s is None else f", and about {largest_s:,.0f} fits"
    room = "" if price.available_mib is None else f", {price.available_mib:,.0f} are free now"
    return Table(
        columns,
        (
            f"Training, {length}: {time_range(price.hours_low, price.hours_high)}{gpus}, "
            "plus validations.",
            *_load_notes(price),
            f"First batch after {price.first_batch_s:.1f} s; "
            f"{100 * price.data_wait_share:.0f} % of the time is spent waiting for data.",
            f"Peak memory {_mib(price.peak_mib)} MiB{room}; data.batching.max_duration_s is "
            f"{max_duration_s:g}{fits}.",
            f"{hardware}.",
        ),
    )


def write_price(row: Mapping[str, Any], path: str) -> None:
    """Write the row as a JSON list of one to ``path``, or to stdout for "-"."""
    text = json.dumps([row], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if path == "-":
        print(text, end="")
    else:
        write_text(path, text)


def time_range(low: float, high: float) -> str:
    """Format ``low`` to ``high``, both in hours, as hours or minutes; one number if equal."""
    unit, factor = ("hours", 1.0) if high >= 1 else ("minutes", 60.0)
    ends = [f"{factor * end:,.1f}" for end in (low, high)]
    return f"{' to '.join(dict.fromkeys(ends))} {unit}"


def _load_notes(price: Price) -> list[str]:
    if price.load_per_core is None or price.load_per_core < _BUSY:
        return []
    return [
        f"Other programs were running: {price.load_per_core:.1f} processes per core. "
        "On an idle machine the time is near the lower end, or below it."
    ]


def _mib(mib: float | None) -> str:
    return "-" if mib is None else f"{mib:,.0f}"


_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "bfloat16"}  # fp16 and bf16 cost alike
_DATA_STEPS = 20
_DATA_S = 20.0
_SECOND_EPOCH = {"epoch": 1, "batch": 0}  # the first epoch may be sorted from short to long


def dry_run(
    config: Mapping[str, Any], *, run: str, allow_unknown: bool = False
) -> tuple[Table, dict[str, Any]]:
    """Estimate the cost of ``run`` as a table and as a row for ``--json``; write nothing.

    Raises:
        InputError: the settings or data cannot work.
        RunError: no step fits in memory.
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
    """Time real steps: on the largest batch of every bucket, then on ordinary batches."""
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
    freezing = make_freezing(config)
    if freezing is not None:
        freezing.of(model).apply(0)  # parts frozen in the first steps
    prices, worst, worst_price = price_buckets(stepper, setup)
    batching: Batching = build(
        config["data"]["batching"], "data.batching", slowest_s=model.frontend.slowest_s
    )
    most = None
    if device.type == "cuda":  # on a CPU, filling the memory is slow and may kill the process
        log("looking for the largest batch that fits")
        most = largest_num_utterances(stepper, worst, most=sum(n for n, _ in loader.sizes()))
    log("timing steps on ordinary batches")
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
    """Return the machine's runnable processes per core; None if unknown."""
    try:
        return os.getloadavg()[0] / num_cores()
    except (OSError, AttributeError):
        return None


def price_buckets(
    stepper: Stepper, setup: TrainingSetup
) -> tuple[list[BatchPrice], Batch, BatchPrice]:
    """Price buckets from short to long; return them and the batch with most memory per second."""
    prices: list[tuple[BatchPrice, Batch]] = []
    for batch in setup.train_loader.largest_batches():
        try:
            prices.append((stepper.price(batch), batch))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"out of memory: {describe_batch(batch)}; {advice(stepper, batch)}"
            ) from error
        price = prices[-1][0]
        log(f"{price.num_utterances} x {price.longest_s:.1f} s: {price.step_s:.3f} s per step")
    worst_price, worst = max(prices, key=lambda pair: _mib_a_second(pair[0]))
    return sorted((p for p, _ in prices), key=lambda p: p.longest_s), worst, worst_price


def advice(stepper: Stepper, batch: Batch) -> str:
    """Advise a batch size if a batch does not fit."""
    for parts in (2, 4, 8, 16):
        kept = len(batch) // parts
        if kept and stepper.fits(repeated_batch(batch, kept)):
            return f"{kept} utterances of it fit: divide data.batching.max_duration_s by {parts}"
    return "not even a sixteenth of it fits: lower data.batching.max_utterance_s or the model"


def price_hours(
    trainer: TrainerSpec, num_steps: int | None, data: DataPrice, batch_s: float
) -> float:
    """Return the hours of ``num_steps``, limited by the recipe's minutes."""
    most = float("inf") if trainer.max_minutes is None else trainer.max_minutes / 60
    if num_steps is None:
        return most
    busy_s = num_steps * trainer.accumulate * batch_s
    return min(most, busy_s / max(1e-3, 1 - data.wait_share) / 3600)


def _mib_a_second(price: BatchPrice) -> float:
    return (price.above_mib or 0.0) / price.audio_s
