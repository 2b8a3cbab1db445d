"""Schedules: one role per layer, from groups, a pattern or explicit leaders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from asr.errors import InputError


class Role(Enum):
    """The part that a layer plays in attention reuse."""

    ALONE = "alone"  # computes its own attention and passes nothing on
    LEAD = "lead"  # computes its own attention and passes it on
    FOLLOW = "follow"  # reuses what its leader passed on
    ABSENT = "absent"  # has no attention


@dataclass(frozen=True, slots=True)
class LayerRole:
    """The role of one layer.

    ``leader`` is a layer index for FOLLOW, otherwise None; ``num_followers`` is above 0 for LEAD.
    If a schedule mixes methods, ``method`` names the method of the layer, and ``begins_part`` marks
    the first layer of each part, to which nothing may be passed on.
    """

    layer: int
    role: Role
    leader: int | None = None
    num_followers: int = 0
    method: str = ""
    begins_part: bool = False


Schedule = tuple[LayerRole, ...]


def schedule_from_groups(groups: Sequence[int], num_layers: int) -> Schedule:
    """Return the schedule of consecutive groups, led by their first layers: [4, 4] is LFFFLFFF.

    Raises:
        InputError: a group is not positive, or the groups do not add up to ``num_layers``.
    """
    if any(size < 1 for size in groups):
        raise InputError(f"reuse.groups={list(groups)}: every group needs at least one layer")
    if sum(groups) != num_layers:
        raise InputError(
            f"reuse.groups={list(groups)} add up to {sum(groups)} layers, "
            f"but encoder.num_layers={num_layers}"
        )
    return schedule_from_leaders(
        [leader for leader, size in _starts(groups) for _ in range(size)], num_layers
    )


def schedule_from_group_size(group_size: int, num_layers: int) -> Schedule:
    """Return the schedule of equal groups of ``group_size`` consecutive layers.

    Raises:
        InputError: ``group_size`` does not divide ``num_layers``.
    """
    if group_size < 1 or num_layers % group_size:
        divisors = [size for size in range(1, num_layers + 1) if num_layers % size == 0]
        raise InputError(
            f"reuse.group_size={group_size} does not divide encoder.num_layers={num_layers}; "
            f"allowed: {', '.join(map(str, divisors))} (or give reuse.groups)"
        )
    return schedule_from_groups([group_size] * (num_layers // group_size), num_layers)


def schedule_from_pattern(pattern: str, num_layers: int) -> Schedule:
    """Return the schedule of a string of A (alone), L (lead), F (follow), such as ``LFFF``.

    The string is repeated over the depth.

    Raises:
        InputError: an unknown letter, or a follower before any leader.
    """
    if not pattern or set(pattern) - set("ALF"):
        raise InputError(
            f"reuse.pattern={pattern!r}: allowed letters are A (alone), L (lead), F (follow)"
        )
    leaders: list[int] = []
    latest: int | None = None
    for layer in range(num_layers):
        letter = pattern[layer % len(pattern)]
        if letter == "L":
            latest = layer
        if letter == "F" and latest is None:
            raise InputError(f"reuse.pattern={pattern!r}: layer {layer} follows, but none leads")
        leaders.append(latest if letter == "F" and latest is not None else layer)
    return schedule_from_leaders(leaders, num_layers)


def schedule_from_leaders(leaders: Sequence[int], num_layers: int) -> Schedule:
    """Return the schedule of one leader index per layer; a layer may be its own leader.

    Raises:
        InputError: wrong count, a leader above its follower, a leader that itself follows, or a
            leader that is not the latest one (only one leader's attention is carried).
    """
    if len(leaders) != num_layers:
        raise InputError(
            f"reuse.leaders names {len(leaders)} layers, but encoder.num_layers={num_layers}"
        )
    latest: int | None = None
    followed = Counter(leader for layer, leader in enumerate(leaders) if leader != layer)
    roles: list[LayerRole] = []
    for layer, leader in enumerate(leaders):
        if leader == layer:
            latest = layer if layer in followed else latest
            role = Role.LEAD if layer in followed else Role.ALONE
            roles.append(LayerRole(layer, role, num_followers=followed[layer]))
            continue
        if not 0 <= leader < layer:
            raise InputError(
                f"reuse.leaders: layer {layer} follows {leader}; allowed: 0 to {layer}"
            )
        if leaders[leader] != leader:
            raise InputError(
                f"reuse.leaders: layer {layer} follows {leader}, which itself follows "
                f"{leaders[leader]}; a leader computes its own attention"
            )
        if leader != latest:
            raise InputError(
                f"reuse.leaders: layer {layer} follows {leader}, but {latest} has led since; "
                "only the latest leader can be followed"
            )
        roles.append(LayerRole(layer, Role.FOLLOW, leader))
    return tuple(roles)


def _starts(groups: Sequence[int]) -> list[tuple[int, int]]:
    starts = [sum(groups[:index]) for index in range(len(groups))]
    return list(zip(starts, groups, strict=True))
