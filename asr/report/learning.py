"""The learning curve of a run, from the log that training writes."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from asr.report.record import LearningPoint

MOST_POINTS = 200
"""A record keeps every validation, and about this many losses."""


def read_learning(path: Path) -> tuple[LearningPoint, ...]:
    """Return the points of a ``metrics.csv`` in the order of their steps.

    There are none if the file is missing; cells that are not finite numbers count as empty.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    points: dict[int, LearningPoint] = {}
    for row in csv.DictReader(text.splitlines()):
        step, loss, wer = (_number(row.get(key)) for key in ("step", "train_loss", "dev_wer"))
        if step is None or (loss is None and wer is None):
            continue
        before = points.get(int(step))  # a validation is logged after its step
        points[int(step)] = LearningPoint(
            step=int(step),
            train_loss=before.train_loss if loss is None and before else loss,
            dev_wer=before.dev_wer if wer is None and before else wer,
        )
    in_order = [points[step] for step in sorted(points)]
    every = max(1, math.ceil(len(in_order) / MOST_POINTS))
    return tuple(
        point
        for place, point in enumerate(in_order)
        if point.dev_wer is not None or (len(in_order) - 1 - place) % every == 0
    )


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
