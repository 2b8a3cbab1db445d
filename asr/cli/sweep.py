"""Several values for one key: one list of overrides for each combination."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hydra.core.override_parser.types import Override

from asr.cli.override import expand, is_text, parse_overrides
from asr.types import InputError


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Override lists for every combination of the values given.

    ``reuse=none,probs`` stands for two runs, and so does Hydra's ``choice(none,probs)``; commas
    within brackets or quotes belong to one value. ``seeds=3`` is short for ``seed=0,1,2``. The
    last override varies fastest.

    Raises:
        InputError: an override that cannot be parsed, or ``seeds`` that is not a count.
    """
    parsed = parse_overrides(overrides)
    choices = [_choices(line, override) for line, override in zip(overrides, parsed, strict=True)]
    return [list(combination) for combination in itertools.product(*choices)]


def _choices(line: str, override: Override) -> list[str]:
    key = override.get_key_element()
    if is_text(key):
        return list(expand(line))
    if key == "seeds":
        count = override.value()
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(
                f"{line}: seeds is the number of seeds, 1 or more; for given seeds write seed=1,2"
            )
        return [f"seed={seed}" for seed in range(count)]
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [line]
