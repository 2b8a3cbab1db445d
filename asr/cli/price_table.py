"""What a dry run found, as a table and as a row of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr.atomic import write_text
from asr.report.table import Column, Table
from asr.train.price import BatchPrice

_BUSY = 1.5  # processes a core from which timings are somebody else's too


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a run will cost.

    ``hours`` of training, without its validations, by the median of what was timed, and the ends
    of it ``hours_low`` and ``hours_high``; ``gpu_hours`` those of all GPUs, None without;
    ``first_batch_s`` from the reading of the manifests; ``largest_max_duration_s`` is the greatest
    ``data.batching.max_duration_s`` that fits in the memory of a GPU, None without one.
    ``available_mib`` was free when all was timed. ``load_per_core`` is how many processes wanted
    each core meanwhile, None where nobody can tell.
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
    """A row for each bucket, the totals below; ``max_duration_s`` is that of the recipe."""
    rows = price.batches
    columns = (
        Column("largest batch", tuple(f"{p.num_utterances} x {p.longest_s:.2f} s" for p in rows)),
        Column("s a step", tuple(f"{p.fastest_s:.3f} to {p.slowest_s:.3f}" for p in rows)),
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
            f"Training, {length}: {time_range(price.hours_low, price.hours_high)}{gpus}; "
            "validations come on top.",
            *_load_notes(price),
            f"First batch after {price.first_batch_s:.1f} s; "
            f"{100 * price.data_wait_share:.0f} % of the time is spent waiting for data.",
            f"Peak memory {_mib(price.peak_mib)} MiB{room}; data.batching.max_duration_s is "
            f"{max_duration_s:g}{fits}.",
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


def time_range(low: float, high: float) -> str:
    """Hours or minutes from ``low`` to ``high``, both in hours; one number where they agree."""
    unit, factor = ("hours", 1.0) if high >= 1 else ("minutes", 60.0)
    ends = [f"{factor * end:,.1f}" for end in (low, high)]
    return f"{' to '.join(dict.fromkeys(ends))} {unit}"


def _load_notes(price: Price) -> list[str]:
    if price.load_per_core is None or price.load_per_core < _BUSY:
        return []
    return [
        f"Other programs were running: {price.load_per_core:.1f} processes wanted each core. "
        "Alone on the machine it is nearer the lower end, or below it."
    ]


def _mib(mib: float | None) -> str:
    return "-" if mib is None else f"{mib:,.0f}"
