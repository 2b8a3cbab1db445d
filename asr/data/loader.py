"""The batch loader for training and evaluation; training can resume at any batch."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from typing import Annotated, Any, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from asr.data.batching import Batching
from asr.data.dataset import ReadBatch, SpeechDataset
from asr.data.manifest import Utterance, Utterances
from asr.distributed import num_processes, rank
from asr.errors import InputError, RunError
from asr.model.package import ModelPackage
from asr.ranges import Range, Share, in_ranges
from asr.types import Batch


@in_ranges("data.loader")
class ResumableLoader(Sized):
    """Batches of ``utterances``, one epoch per iteration.

    With ``training``, every epoch has its own order, iteration continues from the loader's position
    (``load_state_dict``; skipped batches are not read), and the next epoch follows a finished one.
    Without it, every iteration covers all ``utterances`` in the same order, or with ``shared`` only
    this process's part.

    If more than the fraction ``max_unreadable`` of the utterances cannot be read, iterating raises
    ``RunError``. A process only counts utterances that it read itself; code that gathers the counts
    of all processes calls `check_unreadable`.

    The state counts batches handed out, not batches that workers have prefetched. A batch without
    any readable audio is skipped but still counted.
    """

    def __init__(
        self,
        utterances: Utterances,
        *,
        dataset: SpeechDataset,
        batching: Batching,
        training: bool,
        shared: bool = False,
        num_workers: Annotated[int, Range(0, 256)] = 0,
        max_unreadable: Share = 1.0,
    ) -> None:
        self._max_unreadable = max_unreadable
        self._dataset = dataset
        self._batching = batching
        self._training = training
        self._shared = shared
        self._all = utterances
        self._selected: list[Utterance] = batching.select(utterances) if training else []
        self._checksum = _checksum(self._selected)
        self._epoch = 0
        self._batch = 0
        self._plan: list[Utterances] | None = None
        self._num_batches: dict[int, int] = {}
        self._num_sharing = 1
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            _Reader(dataset),
            sampler=self._order,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # a separate one: an iteration draws from it
        )

    @property
    def unreadable(self) -> Collection[str]:
        """Ids of the utterances that could not be read so far."""
        return self._dataset.skipped.keys()

    @property
    def bad_sounds(self) -> Collection[str]:
        """Files of sounds that could not be mixed into speech so far."""
        return self._dataset.bad_sounds.keys()

    def largest_batches(self) -> Iterator[Batch]:
        """Yield the largest batch of each bucket, the one that needs most memory first.

        ``Batching.demand_s`` estimates the memory. Audio is read lazily; batches without readable
        audio are left out.
        """
        largest = self._batching.largest_batches(self._selected)
        for utterances in sorted(largest, key=self._batching.demand_s, reverse=True):
            batch = self._dataset[utterances]
            if batch is not None:
                yield batch

    def __len__(self) -> int:
        """Return the number of batches of the whole current epoch, whatever the position in it."""
        return len(self._batches())

    def __iter__(self) -> Iterator[Batch]:
        if not self._training:
            self._batch = 0
        epoch = self._epoch
        draws = epoch if self._training else None
        self._order.items = [(draws, utterances) for utterances in self._batches()[self._batch :]]
        for reading in self._loader:
            self._dataset.note(reading)
            batch = reading.batch
            if num_processes() == 1 or not (self._training or self._shared):
                self.check_unreadable(self.unreadable)
            self._batch += 1
            if batch is not None:
                yield batch
            elif self._training and num_processes() > 1:
                raise RunError(
                    "a batch of which no audio can be read: processes that train together would no "
                    "longer be at the same step; bring the audio back, or run `asr prepare` again"
                )
        if self._training and self._epoch == epoch:
            self.set_epoch(epoch + 1)

    def sizes(self) -> list[tuple[int, float]]:
        """Return the number of utterances and the longest seconds of each batch of the epoch."""
        return [
            (len(utterances), max(utterance.duration_s for utterance in utterances))
            for utterances in self._batches()
        ]

    def num_batches(self, epoch: int, num_processes: int) -> int:
        """Return the batches of ``epoch`` for each of ``num_processes`` that share it."""
        kind = min(epoch, 1)  # only the first epoch may be sorted; all others have one length
        if kind not in self._num_batches:
            self._num_batches[kind] = self._batching.num_train_batches(self._selected, kind)
        return self._num_batches[kind] // num_processes

    def batch_at(self, position: Mapping[str, Any], num_processes: int) -> int:
        """Return the batch to resume at after ``position``, if ``num_processes`` share the rest.

        With other batch sizes or numbers of devices, it is the same fraction of the epoch.
        """
        share_s = self._share_s(num_processes)
        ratio = float(position.get("share_s", share_s)) / share_s
        return int(int(position["batch"]) * ratio)

    def _share_s(self, num_processes: int) -> float:
        """Return the padded seconds that all devices process per step."""
        return self._batching.max_duration_s * num_processes

    def check_unreadable(self, unreadable: Collection[str]) -> None:
        """Raise RunError if too many utterances are ``unreadable`` (their ids)."""
        num_unreadable, num_all = len(unreadable), len(self._selected or self._all)
        if num_unreadable > self._max_unreadable * num_all:
            *_, last_id = unreadable
            last = self._dataset.skipped.get(last_id, last_id)
            raise RunError(
                f"{num_unreadable:,} of {num_all:,} utterances cannot be read, above data.loader."
                f"max_unreadable={self._max_unreadable:g}; last {last}; bring "
                "the audio back, or run `asr prepare` again"
            )

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of ``epoch``."""
        if epoch != self._epoch:
            self._plan = None
        self._epoch = epoch
        self._batch = 0

    def state_dict(self) -> dict[str, float]:
        """Return the position: ``epoch``, and ``batch``, the number of its batches handed out.

        It includes a checksum of the data, and the padded seconds that all processes take per step.
        """
        return {
            "epoch": self._epoch,
            "batch": self._batch,
            "share_s": self._share_s(num_processes()),
            "data": self._checksum,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of ``state_dict``, using `batch_at`; needs the same utterances.

        Raises:
            InputError: the utterances differ.
        """
        if state.get("data", self._checksum) != self._checksum:
            raise InputError(
                "the training utterances are not those the run was begun with: bring the manifest "
                "back, or choose another --run-dir (init= takes over the weights)"
            )
        self.set_epoch(int(state["epoch"]))
        self._batch = self.batch_at(state, num_processes())

    def _batches(self) -> list[Utterances]:
        if self._plan is None or self._num_sharing != num_processes():
            self._num_sharing = num_processes()
            if self._training:
                self._plan = self._batching.train_batches(self._selected, self._epoch)
            else:
                self._plan = self._batching.eval_batches(self._all)
                if self._shared:
                    self._plan = self._plan[rank() :: num_processes()]
        return self._plan


EVALUATION_BATCH_S = 40.0  # padded seconds of audio


def evaluation_batches(package: ModelPackage, utterances: Utterances) -> ResumableLoader:
    """Return batches of all ``utterances`` to evaluate a trained model, the longest first."""
    dataset = SpeechDataset(
        tokenizer=package.tokenizer,
        normalizer=package.normalizer,
        sample_rate_hz=package.model.frontend.sample_rate_hz,
    )
    batching = Batching(max_duration_s=EVALUATION_BATCH_S)
    return ResumableLoader(utterances, dataset=dataset, batching=batching, training=False)


def _checksum(utterances: Iterable[Utterance]) -> int:
    """Return a checksum of ids and durations."""
    checksum = 0
    for utterance in utterances:
        checksum = zlib.crc32(
            f"{utterance.utterance_id} {utterance.duration_s}\n".encode(), checksum
        )
    return checksum


_Item: TypeAlias = tuple[int | None, Utterances]  # an epoch of training or None, and a batch


class _Order(Sampler[_Item]):
    """The batches that the workers read next; set before each iteration."""

    def __init__(self) -> None:
        self.items: list[_Item] = []

    def __iter__(self) -> Iterator[_Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Reader(Dataset[ReadBatch]):
    """The dataset as workers use it; the loader's process counts skipped utterances."""

    def __init__(self, dataset: SpeechDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, item: _Item) -> ReadBatch:
        epoch, utterances = item
        return self._dataset.read(utterances, epoch)
