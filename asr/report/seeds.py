"""Runs of one configuration that differ in their seed only."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from asr.report.plain import to_plain
from asr.report.record import RunRecord

_SEED = re.compile(r"[-_ ]?(?<![A-Za-z0-9])seed[-_=]?\d+(?![A-Za-z0-9])")


class SeedGroup(NamedTuple):
    """The runs of a configuration, no seed twice, under one name."""

    name: str
    records: tuple[RunRecord, ...]


def by_seed(records: Sequence[RunRecord]) -> list[SeedGroup]:
    """The groups of ``records``, in the order of their first runs."""
    groups: list[tuple[str, list[RunRecord]]] = []
    for record in records:
        key = _without_seed(record)
        for other, members in groups:
            if other == key and seed_of(record) not in map(seed_of, members):
                members.append(record)
                break
        else:
            groups.append((key, [record]))
    members_of = [members for _, members in groups]
    return [
        SeedGroup(name, tuple(members))
        for name, members in zip(_names(members_of), members_of, strict=True)
    ]


def seed_of(record: RunRecord) -> str:
    """The seed as text; equal for equal seeds, also where a record has none."""
    return repr(record.config.get("seed"))


def _names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The run's name, without its seed where there are several; always different."""
    names = [
        _SEED.sub("", runs[0].run).strip("-_ ") if len(runs) > 1 else runs[0].run for runs in groups
    ]
    return [
        name if name and names.count(name) == 1 else runs[0].run
        for name, runs in zip(names, groups, strict=True)
    ]


def _without_seed(record: RunRecord) -> str:
    config = {key: value for key, value in record.config.items() if key != "seed"}
    return json.dumps([config, record.reuse, to_plain(record.schedule)], sort_keys=True)
