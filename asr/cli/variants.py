"""Names for the variants of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PLAIN = "recipe"
MAX_LENGTH = 60


def variant_names(variants: Sequence[Sequence[str]]) -> list[str]:
    """A short name for each list of overrides: the values in which the variants differ.

    ``[["reuse=none", "seed=0"], ["reuse=probs", "seed=0"]]`` gives ``none`` and ``probs``. A
    single variant is named by all its values, or "recipe" when it has none. Names that would be
    equal are numbered.
    """
    if not variants:
        return []
    varying = [
        index
        for index, override in enumerate(variants[0])
        if len(variants) == 1 or any(variant[index] != override for variant in variants)
    ]
    names = [
        "-".join(short_value(variant[index]) for index in varying) or PLAIN for variant in variants
    ]
    return [
        name if names.count(name) == 1 else f"{name}-{names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]


def short_value(override: str) -> str:
    """The value of an override, with the last part of its key unless it picks a config group.

    ``reuse=probs`` is ``probs``; ``reuse.group_size=8`` is ``group_size8``; ``seed=1`` is
    ``seed1``; ``reuse.groups=[4,4]`` is ``groups4-4``; a file goes by its stem. A class
    is called by its last name, and what is longer than a file name should be ends early.
    """
    key, _, value = override.partition("=")
    leaf = key.rpartition(".")[2]
    if value.endswith(".yaml"):
        value = Path(value).stem
    value = re.sub(r"_target_: *(?:\w+\.)*", "", value)
    plain = re.sub(r"[^\w.]+", "-", value)[:MAX_LENGTH].strip("-")
    return plain if "." not in key and not plain.isdigit() else f"{leaf}{plain}"
