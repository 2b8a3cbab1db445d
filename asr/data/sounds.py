"""Recordings that are mixed into speech: the manifests of a prepared folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asr.data.manifest import Cut, read_manifest
from asr.types import InputError


def read_sounds(
    folder: str | None, parts: Sequence[str], probability: float, key: str
) -> list[Cut]:
    """The recordings of ``<folder>/<part>.jsonl.gz`` for each part; none without a folder.

    Raises:
        InputError: no such manifest or no parts, or a probability outside 0 to 1; names the
            config ``key``.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"{key}.probability: {probability:g} must be between 0 and 1")
    if folder is None:
        return []
    if not parts:
        raise InputError(f"{key}.parts: name one manifest of {folder} or more")
    found: list[Cut] = []
    for part in parts:
        manifest = Path(folder, f"{part}.jsonl.gz")
        if not manifest.is_file():
            there = sorted(file.name.partition(".")[0] for file in Path(folder).glob("*.jsonl.gz"))
            has = f"it has {', '.join(there)}" if there else "`asr prepare` makes such folders"
            raise InputError(f"{key}.folder: {folder} has no manifest {manifest.name}; {has}")
        found += read_manifest(manifest)
    return found
