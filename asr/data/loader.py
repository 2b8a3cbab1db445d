"""The stream of batches that training and evaluation read, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.manifest import Cut, Cuts
from asr.data.summary import Skipped
from asr.types import Batch, InputError


class ResumableLoader(Sized):
    """Batches of ``cuts``, one epoch an iteration.

    With ``training`` every epoch has its own order, iterating goes on from where the loader stands
    (``load_state_dict``; skipped batches are not read), and a finished epoch is followed by the
    next one. Without, every iteration is all of ``cuts`` in the same order.

    The state counts batches handed out, not batches that workers have read ahead. A batch in which
    no audio could be read is passed over, and still counted.
    """

    def __init__(
        self,
        cuts: Cuts,
        *,
        dataset: SpeechDataset,
        batching: Batching,
        training: bool,
        num_workers: int = 0,
    ) -> None:
        if num_workers < 0:
            raise InputError(f"data.loader.num_workers is {num_workers}; 0 or more are allowed")
        self._dataset = dataset
        self._batching = batching
        self._training = training
        self._all = cuts
        self._selected: list[Cut] = batching.select(cuts) if training else []
        self._epoch = 0
        self._batch = 0
        self._plan: list[Cuts] | None = None
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            _Reader(dataset),
            sampler=self._order,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # its own: an iteration draws from it
        )

    @property
    def num_skipped(self) -> int:
        """How many utterances could not be read so far."""
        return self._dataset.num_skipped

    def __len__(self) -> int:
        """Batches of the whole current epoch, wherever the loader stands in it."""
        return len(self._batches())

    def __iter__(self) -> Iterator[Batch]:
        if not self._training:
            self._batch = 0
        epoch = self._epoch
        draws = epoch if self._training else None
        self._order.items = [(draws, cuts) for cuts in self._batches()[self._batch :]]
        for batch, skipped in self._loader:
            self._dataset.note(skipped)
            self._batch += 1
            if batch is not None:
                yield batch
        if self._training and self._epoch == epoch:
            self.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Stand at the beginning of ``epoch``."""
        if epoch != self._epoch:
            self._plan = None
        self._epoch = epoch
        self._batch = 0

    def state_dict(self) -> dict[str, int]:
        """``epoch`` and ``batch``: how many batches of the epoch have been handed out."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where ``state_dict`` stood; needs the same cuts and batching."""
        self.set_epoch(int(state["epoch"]))
        self._batch = int(state["batch"])

    def _batches(self) -> list[Cuts]:
        if self._plan is None:
            if self._training:
                self._plan = self._batching.train_batches(self._selected, self._epoch)
            else:
                self._plan = self._batching.eval_batches(self._all)
        return self._plan


_Item: TypeAlias = tuple[int | None, Cuts]  # an epoch of training or None, and a batch


class _Order(Sampler[_Item]):
    """What the workers shall read next; set before each iteration."""

    def __init__(self) -> None:
        self.items: list[_Item] = []

    def __iter__(self) -> Iterator[_Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Reader(Dataset[tuple[Batch | None, dict[str, Skipped]]]):
    """The dataset as workers use it: what they skip is counted in the loader's process."""

    def __init__(self, dataset: SpeechDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, item: _Item) -> tuple[Batch | None, dict[str, Skipped]]:
        epoch, cuts = item
        return self._dataset.read(cuts, epoch)
