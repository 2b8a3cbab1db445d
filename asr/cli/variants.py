"""Names for the variants of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

PLAIN = "recipe"


def variant_names(variants: Sequence[Sequence[str]]) -> list[str]:
    """A short name for each list of overrides: the values in which the variants differ.

    ``[["reuse=none", "seed=0"], ["reuse=probs", "seed=0"]]`` gives ``none`` and ``probs``. A
    single variant is named by all its values, or "recipe" when it has none.
    """
    if not variants:
        return []
    varying = [
        index
        for index, override in enumerate(variants[0])
        if len(variants) == 1 or any(variant[index] != override for variant in variants)
    ]
    return [
        "-".join(short_value(variant[index]) for index in varying) or PLAIN for variant in variants
    ]


def short_value(override: str) -> str:
    """The value of an override, with the last part of its key unless it picks a config group.

    ``reuse=probs`` is ``probs``; ``reuse.group_size=8`` is ``group_size8``; ``seed=1`` is
    ``seed1``.
    """
    key, _, value = override.partition("=")
    leaf = key.rpartition(".")[2]
    plain = "".join(character for character in value if character.isalnum() or character in "._")
    return plain if "." not in key and not plain.isdigit() else f"{leaf}{plain}"
