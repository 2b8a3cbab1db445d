"""The training data as one endless stream of batches.

Lightning sees one endless epoch, so that steps, accumulation and validation do not depend on where
an epoch ends, and runs always resume in the middle of Lightning's epoch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from asr.distributed import gather_from_all
from asr.errors import InputError
from asr.types import Batch


class TrainLoader(Protocol):
    """The interface of a training loader.

    ``state_dict()`` holds the position: ``epoch``, and ``batch``, the number of its batches that
    are done. Iterating after ``load_state_dict`` gives the rest of that epoch.
    """

    def __iter__(self) -> Iterator[Batch | None]: ...

    def set_epoch(self, epoch: int, /) -> None:
        """Go to the beginning of ``epoch``."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the position as plain values."""

    @property
    def unreadable(self) -> Collection[str]:
        """Ids of the utterances whose audio could not be read so far."""

    @property
    def bad_sounds(self) -> Collection[str]:
        """Files of sounds that could not be mixed into speech so far."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go to a position."""

    def num_batches(self, epoch: int, num_processes: int) -> int:
        """Return the batches of ``epoch`` for each of ``num_processes`` that share it."""

    def batch_at(self, position: Mapping[str, Any], num_processes: int) -> int:
        """Return the batch to resume at after ``position``, if ``num_processes`` share the rest."""


@dataclass(frozen=True, slots=True)
class StreamItem:
    """A batch and its place: ``position`` is the loader's state after it.

    ``wait_s`` is the time the loader took for it, ``audio_s`` its seconds of audio.
    """

    batch: Batch
    epoch: int
    ends_epoch: bool
    position: dict[str, Any]
    wait_s: float
    audio_s: float

    def to(self, device: torch.device | str) -> StreamItem:
        """Return the item with its batch on ``device``."""
        return replace(self, batch=self.batch.to(device))


class TrainStream(Iterable[StreamItem]):
    """The epochs of ``loader``, one after the other, from ``position`` on.

    It reads one batch ahead, to know which batch is the last of its epoch.

    Raises:
        InputError: an epoch has no batch.
    """

    def __init__(
        self,
        loader: TrainLoader,
        *,
        sample_rate_hz: int,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        self._loader = loader
        self._sample_rate_hz = sample_rate_hz
        self._position = dict(position) if position else None

    def __iter__(self) -> Iterator[StreamItem]:
        epoch = 0
        if self._position:
            self._loader.load_state_dict(self._position)
            epoch = int(self._position["epoch"])
        else:
            self._loader.set_epoch(0)
        resumed = self._position is not None
        while True:
            held: StreamItem | None = None
            for item in self._epoch(epoch):
                if held is not None:
                    yield held
                held = item
            if held is None and not resumed:
                raise InputError("training data: no batch in a whole epoch, nothing to train on")
            resumed = False
            epoch += 1
            self._loader.set_epoch(epoch)
            if held is not None:
                position = dict(self._loader.state_dict())
                yield replace(held, ends_epoch=True, position=position)

    def _epoch(self, epoch: int) -> Iterator[StreamItem]:
        start = time.perf_counter()
        for batch in self._loader:
            if batch is None:
                continue
            num_samples = int(batch.waveform_lengths_B.sum())
            yield StreamItem(
                batch=batch,
                epoch=epoch,
                ends_epoch=False,
                position=dict(self._loader.state_dict()),
                wait_s=time.perf_counter() - start,
                audio_s=num_samples / self._sample_rate_hz,
            )
            start = time.perf_counter()


@dataclass(frozen=True, slots=True)
class DevItem:
    """A validation batch; ``counts`` is False if it only keeps the processes in step."""

    batch: Batch
    counts: bool = True

    def to(self, device: torch.device | str) -> DevItem:
        """Return the item with its batch on ``device``."""
        return replace(self, batch=self.batch.to(device))


class DevData(Iterable[DevItem]):
    """The validation batches of this process, the same in the same order at every validation.

    With ``in_step``, every process gets the same number of batches, because all run a sharded model
    together; a second of silence replaces a missing batch.
    """

    def __init__(
        self, loader: Iterable[Batch | None], *, sample_rate_hz: int, in_step: bool = False
    ) -> None:
        self.loader = loader
        self._silence = _silence(sample_rate_hz)
        self._in_step = in_step

    def __iter__(self) -> Iterator[DevItem]:
        set_epoch = getattr(self.loader, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(0)
        batches = (batch for batch in self.loader if batch is not None)
        if not self._in_step:
            return (DevItem(batch) for batch in batches)
        return self._filled_up(batches)

    def _filled_up(self, batches: Iterator[Batch]) -> Iterator[DevItem]:
        while True:
            batch = next(batches, None)
            if not any(gather_from_all(batch is not None)):
                return
            yield DevItem(self._silence, counts=False) if batch is None else DevItem(batch)


def check_unreadable(loader: object) -> None:
    """Raise RunError if too many utterances of ``loader``, over all processes, cannot be read.

    Every process must call it.
    """
    check = getattr(loader, "check_unreadable", None)
    if check is not None:
        own = list(loader.unreadable)  # type: ignore[attr-defined]
        every = dict.fromkeys(name for each in gather_from_all(own) for name in each)
        check([*(name for name in every if name not in own), *own])


def _silence(num_samples: int) -> Batch:
    one_B, none_B = torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    return Batch(
        utterance_ids=("",),
        texts=("",),
        waveforms_BN=torch.zeros(1, num_samples),
        waveform_lengths_B=num_samples * one_B,
        token_ids_BU=torch.zeros(1, 0, dtype=torch.int64),
        token_lengths_B=none_B,
    )
