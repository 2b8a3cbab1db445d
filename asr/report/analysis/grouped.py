"""A reuse method with another grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from asr.reuse.grouping import Grouping

WAYS = tuple(field.name for field in fields(Grouping))
PROBS = {"_target_": "asr.reuse.probs.ReuseProbs"}


def is_grouped(reuse: Mapping[str, Any]) -> bool:
    """Whether a config of the group ``reuse`` names its schedule in the ways of `Grouping`."""
    return reuse.keys() >= set(WAYS)


def with_groups(reuse: Mapping[str, Any], groups: Sequence[int]) -> dict[str, Any]:
    """The method on consecutive groups of these sizes."""
    return {**reuse, **dict.fromkeys(WAYS), "groups": list(groups)}


def with_leaders(reuse: Mapping[str, Any], leaders: Sequence[int]) -> dict[str, Any]:
    """The method where every layer follows the one named for it, or itself."""
    return {**reuse, **dict.fromkeys(WAYS), "leaders": list(leaders)}
