"""Splits of a recipe, making train, dev and test splits, and selecting parts of a split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.data.manifest import CheckedUtterance, Utterance, Utterances, read_manifest
from asr.data.shards.read import SHARDS_FILE, read_index, read_shards
from asr.data.web import is_url
from asr.errors import InputError


def evenly_spaced(utterances: Utterances, num_utterances: int) -> Utterances:
    """Select at most ``num_utterances``, evenly spread, because manifests run by speaker."""
    if num_utterances >= len(utterances):
        return utterances
    return [
        utterances[index * len(utterances) // num_utterances] for index in range(num_utterances)
    ]


def no_longer_than(utterances: Utterances, duration_s: float) -> Utterances:
    """Select the utterances of at most ``duration_s`` seconds.

    Raises:
        InputError: all are longer.
    """
    kept = [utterance for utterance in utterances if utterance.duration_s <= duration_s]
    if not kept:
        raise InputError(f"all {len(utterances)} utterances are longer than {duration_s:g} s")
    return kept


def hold_out_every(utterances: Utterances, every: int) -> tuple[Utterances, Utterances]:
    """Return all but every ``every``-th utterance, and every ``every``-th (maybe none)."""
    rest = [utterance for index, utterance in enumerate(utterances, 1) if index % every]
    return rest, utterances[every - 1 :: every]


HELD_OUT_SHARE = 0.05  # of the audio, for each of dev and test


def split_train_dev_test(
    utterances: Sequence[CheckedUtterance],
) -> tuple[dict[str, list[CheckedUtterance]], str]:
    """Split utterances into ``train``, ``dev`` and ``test`` (90/5/5); describe it in a sentence.

    No speaker is in two splits if all speakers are known and none is too large to hold out;
    otherwise single utterances are held out. The choice depends on names alone (a hash), not on
    chance or order.
    """
    if all(utterance.speaker for utterance in utterances):
        speakers = {utterance.utterance_id: str(utterance.speaker) for utterance in utterances}
        chosen = _choose(utterances, speakers)
        if chosen["dev"] and chosen["test"]:
            return chosen, "no split is given: cut 90/5/5 into train, dev and test by speaker"
    names = {utterance.utterance_id: utterance.utterance_id for utterance in utterances}
    chosen = _choose(utterances, names)
    filled = {split: part for split, part in chosen.items() if part}
    return filled, (
        f"no split is given: cut by utterance into {', '.join(filled)}; "
        "speakers may be in more than one"
    )


def _choose(
    utterances: Sequence[CheckedUtterance], unit_of: Mapping[str, str]
) -> dict[str, list[CheckedUtterance]]:
    """Hold out whole units until dev and test have 5 % each, but never more than 10 %."""
    units: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        units[unit_of[utterance.utterance_id]] += utterance.duration_s
    share_s = HELD_OUT_SHARE * sum(units.values())
    split_of: dict[str, str] = {}
    for split in ("test", "dev"):
        held_s = 0.0
        for unit in sorted(units, key=_hash):
            fits = held_s + units[unit] <= 2 * share_s
            if unit not in split_of and held_s < share_s and fits:
                split_of[unit] = split
                held_s += units[unit]
    chosen: dict[str, list[CheckedUtterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        chosen[split_of.get(unit_of[utterance.utterance_id], "train")].append(utterance)
    return chosen


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Names of splits in ``folder``, where `asr prepare` wrote ``<split>.jsonl.gz``.

    A relative ``folder`` starts at the working directory. ``dev`` guides training; ``test`` splits
    are scored after training (any split may be named, the training split too). ``train`` may join
    several splits with ``+``. Each of them, and ``dev``, may instead be a folder of shards (in
    ``folder``, or from the working directory) or its URL.

    Raises:
        InputError: a split has no manifest.
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
        """The name of every split once, training first."""
        wanted = [self.train, *([self.dev] if self.dev else []), *self.test]
        return tuple(dict.fromkeys(wanted))

    def manifest(self, split: str) -> Path:
        """Return the path of a split's manifest."""
        return Path(self.folder) / f"{split}.jsonl.gz"

    def read(self, name: str) -> list[Utterance]:
        """Read the utterances of one of ``names``, part after part.

        If two parts have an utterance of the same name, all are renamed ``<part>/<name>``.
        """
        parts: dict[str, list[Utterance]] = {}
        for part in self._parts(name):
            shards = self._shards(part)
            found = read_manifest(self.manifest(part)) if shards is None else read_shards(shards)
            if part in parts:
                raise InputError(f"splits.train={name}: names {part} twice")
            parts[part] = found
        utterances = [utterance for found in parts.values() for utterance in found]
        if len({utterance.utterance_id for utterance in utterances}) == len(utterances):
            return utterances
        return [
            utterance._replace(utterance_id=f"{part}/{utterance.utterance_id}")
            for part, found in parts.items()
            for utterance in found
        ]

    def digest(self, name: str) -> bytes:
        """Return a checksum of the utterances of one of ``names``."""
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
        """Return the folder or URL of the shards called ``part``, None if it is a manifest."""
        if is_url(part):
            return part
        if self.manifest(part).is_file():
            return None
        folders = (Path(self.folder, part), Path(part))
        return next((str(one) for one in folders if (one / SHARDS_FILE).is_file()), None)
