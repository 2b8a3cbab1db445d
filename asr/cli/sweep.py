"""Several values for one key: one list of overrides for each combination."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice, product
from typing import Annotated, Any

from hydra.core.override_parser.types import Override

from asr.cli.override import expand, is_text, parse_overrides
from asr.ranges import Range, describe, fits
from asr.types import InputError

MAX_RUNS = 10_000
Seeds = Annotated[int, Range(1, 1000)]


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Override lists for every combination of the values given.

    ``reuse=none,probs`` stands for two runs, and so does Hydra's ``choice(none,probs)``; commas
    within brackets or quotes belong to one value. ``seeds=3`` is short for ``seed=0,1,2``. The
    last override varies fastest.

    Raises:
        InputError: an override that cannot be parsed, ``seeds`` that is not a count, or more
            combinations than `MAX_RUNS`.
    """
    parsed = parse_overrides(overrides)
    choices = [_choices(line, override) for line, override in zip(overrides, parsed, strict=True)]
    if math.prod(map(len, choices)) > MAX_RUNS:
        raise InputError(f"{' '.join(overrides)}: allowed: up to {MAX_RUNS:,} combinations")
    return [list(combination) for combination in product(*choices)]


def _choices(line: str, override: Override) -> list[str]:
    key = override.get_key_element()
    if is_text(key):
        return list(expand(line))
    if key == "seeds":
        count: Any = override.value()
        if not fits(count, Seeds):
            raise InputError(
                f"{line}: allowed: {describe(Seeds)}, the number of seeds; for given seeds write "
                "seed=1,2"
            )
        return [f"seed={seed}" for seed in range(count)]
    if override.is_sweep_override():
        values = islice(override.sweep_string_iterator(), MAX_RUNS + 1)
        return [f"{key}={value}" for value in values]
    return [line]
