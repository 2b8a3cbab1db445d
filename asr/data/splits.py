"""Which manifests a recipe trains, validates and tests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.types import InputError


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Names of splits below ``folder``, where `asr prepare` wrote ``<split>.jsonl.gz``.

    A relative ``folder`` is looked up from the present working directory. ``dev`` guides training;
    ``test`` are scored when training is over (any split may be named, the training one too).

    Raises:
        InputError: a split without a manifest.
    """

    folder: str
    train: str
    dev: str | None = None
    test: Sequence[str] = ()

    def __post_init__(self) -> None:
        missing = [split for split in self.names if not self.manifest(split).is_file()]
        if missing:
            raise InputError(
                f"splits: no manifest {self.manifest(missing[0])}; `asr prepare` writes it "
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
