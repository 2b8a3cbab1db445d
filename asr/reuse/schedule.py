"""From groups, a pattern or explicit leaders to one role per layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from asr.errors import InputError


class Role(Enum):
    """What a layer does about attention."""

    ALONE = "alone"  # computes its own and hands nothing on
    LEAD = "lead"  # computes its own and hands it on
    FOLLOW = "follow"  # takes over what its leader handed on
    ABSENT = "absent"  # has no attention


@dataclass(frozen=True, slots=True)
class LayerRole:
    """The role of one layer.

    ``leader`` is a layer index for FOLLOW, otherwise None; ``num_followers`` is above 0 for LEAD.
    Where a schedule mixes methods ``method`` names that of the layer, and ``begins_part`` marks the
    first layer of each part, which nothing may be handed on to.
    """

    layer: int
    role: Role
    leader: int | None = None
    num_followers: int = 0
    method: str = ""
    begins_part: bool = False


Schedule = tuple[LayerRole, ...]


def schedule_from_groups(groups: Sequence[int], num_layers: int) -> Schedule:
    """Consecutive groups of layers, the first of each leading: ``[4, 4]`` is LFFFLFFF.

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
    """Equal groups of ``group_size`` consecutive layers.

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
    """A string of A (alone), L (lead), F (follow), tiled over the depth: ``LFFF``.

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
    """One leader index per layer; a layer that is its own leader computes its attention.

    Raises:
        InputError: wrong count, a leader above its follower, a leader that follows itself, or a
            follower of another than the latest leader (one map at a time is carried).
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
