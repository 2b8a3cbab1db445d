"""What a dry run found, as a table and as a row of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr.atomic import write_text
from asr.report.table import Column, Table
from asr.train.price import BatchPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a run will cost.

    ``hours`` of training, without its validations, ``gpu_hours`` those of all GPUs, None without;
    ``first_batch_s`` from the reading of the manifests; ``largest_max_duration_s`` is the greatest
    ``data.batching.max_duration_s`` that fits in memory, None where it cannot be told.
    """

    batches: tuple[BatchPrice, ...]
    num_steps: int | None
    hours: float
    gpu_hours: float | None
    peak_mib: float | None
    first_batch_s: float
    data_wait_share: float
    largest_max_duration_s: float | None


def price_table(price: Price, hardware: str, *, max_duration_s: float) -> Table:
    """A row for each bucket, the totals below; ``max_duration_s`` is that of the recipe."""
    rows = price.batches
    columns = (
        Column("largest batch", tuple(f"{p.num_utterances} x {p.longest_s:.2f} s" for p in rows)),
        Column("s a step", tuple(f"{p.step_s:.3f}" for p in rows)),
        Column("audio s/s", tuple(f"{p.audio_s / p.step_s:.0f}" for p in rows)),
        Column("peak MiB", tuple(_mib(p.peak_mib) for p in rows)),
    )
    length = "no limit of steps" if price.num_steps is None else f"{price.num_steps:,} steps"
    gpus = "" if price.gpu_hours is None else f", {price.gpu_hours:.3g} GPU-hours"
    largest_s = price.largest_max_duration_s
    fits = "cannot be told here" if largest_s is None else f"about {largest_s:,.0f}"
    return Table(
        columns,
        (
            f"Training, {length}: {_time(price.hours)}{gpus}; validations come on top.",
            f"First batch after {price.first_batch_s:.1f} s; "
            f"{100 * price.data_wait_share:.0f} % of the time is spent waiting for data.",
            f"Peak memory {_mib(price.peak_mib)} MiB; largest data.batching.max_duration_s that "
            f"fits: {fits}; the recipe has {max_duration_s:g}.",
            f"{hardware}.",
        ),
    )


def write_price(row: Mapping[str, Any], path: str) -> None:
    """The row as a JSON list of one, to ``path`` or to stdout when it is "-"."""
    text = json.dumps([row], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if path == "-":
        print(text, end="")
    else:
        write_text(path, text)


def _time(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _mib(mib: float | None) -> str:
    return "-" if mib is None else f"{mib:,.0f}"
