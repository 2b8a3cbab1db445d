"""Which manifests or shards a recipe trains, validates and tests on, and parts of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.data.manifest import Cut, Cuts, read_manifest
from asr.data.shards.read import FILE_NAME, read_index, read_shards
from asr.data.web import is_url
from asr.types import InputError


def spread(cuts: Cuts, num_utterances: int) -> Cuts:
    """At most ``num_utterances`` of ``cuts``, evenly spread: manifests run speaker by speaker."""
    if num_utterances >= len(cuts):
        return cuts
    return [cuts[index * len(cuts) // num_utterances] for index in range(num_utterances)]


def no_longer_than(cuts: Cuts, duration_s: float) -> Cuts:
    """The cuts of at most ``duration_s`` seconds.

    Raises:
        InputError: there is none.
    """
    kept = [cut for cut in cuts if cut.duration <= duration_s]
    if not kept:
        raise InputError(f"all {len(cuts)} utterances are longer than {duration_s:g} s")
    return kept


def hold_out(cuts: Cuts, every: int) -> tuple[Cuts, Cuts]:
    """Most of ``cuts``, and every ``every``-th of them; the second part may be empty."""
    rest = [cut for index, cut in enumerate(cuts, 1) if index % every]
    return rest, cuts[every - 1 :: every]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Names of splits below ``folder``, where `asr prepare` wrote ``<split>.jsonl.gz``.

    A relative ``folder`` is looked up from the present working directory. ``dev`` guides training;
    ``test`` are scored when training is over (any split may be named, the training one too).
    ``train`` may join several splits with ``+``; each of them, and ``dev``, may instead be a
    folder of shards (below ``folder``, or from the working directory) or the address of one.

    Raises:
        InputError: a split without a manifest.
    """

    folder: str
    train: str
    dev: str | None = None
    test: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.names:
            for part in self._parts(name):
                shards = None if name in self.test else self._shards(part)
                if shards is None and not self.manifest(part).is_file():
                    raise InputError(
                        f"splits: no manifest {self.manifest(part)}; `asr prepare` writes it "
                        f"(recipe headers say how), or set splits.folder"
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """Every split once, training first."""
        wanted = [self.train, *([self.dev] if self.dev else []), *self.test]
        return tuple(dict.fromkeys(wanted))

    def manifest(self, split: str) -> Path:
        """Path of a split's manifest."""
        return Path(self.folder) / f"{split}.jsonl.gz"

    def read(self, name: str) -> list[Cut]:
        """The utterances of one of ``names``, part after part.

        Where parts have utterances of one name, all are named ``<part>/<name>``.
        """
        parts: dict[str, list[Cut]] = {}
        for part in self._parts(name):
            shards = self._shards(part)
            found = read_manifest(self.manifest(part)) if shards is None else read_shards(shards)
            if part in parts:
                raise InputError(f"splits.train={name}: names {part} twice")
            parts[part] = found
        cuts = [cut for found in parts.values() for cut in found]
        if len({cut.id for cut in cuts}) == len(cuts):
            return cuts
        return [
            cut._replace(id=f"{part}/{cut.id}") for part, found in parts.items() for cut in found
        ]

    def digest(self, name: str) -> bytes:
        """A sum that changes with the utterances of one of ``names``."""
        digest = hashlib.sha256()
        for part in self._parts(name):
            shards = self._shards(part)
            if shards is None:
                digest.update(self.manifest(part).read_bytes())
            else:
                digest.update(read_index(shards).to_bytes())
        return digest.digest()

    def _parts(self, name: str) -> list[str]:
        joined = name == self.train and not is_url(name) and not self.manifest(name).is_file()
        return name.split("+") if joined else [name]

    def _shards(self, part: str) -> str | None:
        """Where the shards of that name lie, None where it is a manifest."""
        if is_url(part):
            return part
        if self.manifest(part).is_file():
            return None
        folders = (Path(self.folder, part), Path(part))
        return next((str(one) for one in folders if (one / FILE_NAME).is_file()), None)
