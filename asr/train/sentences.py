"""Tokenised sentences, and their batches for training a language model.

Sentences of similar length share a batch; the order depends only on the seed and the step.

Shape legend: N sentences, U tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import IterableDataset

_WINDOW = 100  # batches whose sentences are sorted by length


class Sentences:
    """Token ids of many sentences, 4 bytes a token; longer ones are cut at ``max_tokens``."""

    def __init__(self, sentences: Sequence[Sequence[int]], *, max_tokens: int) -> None:
        cut = [
            np.asarray(one[first : first + max_tokens], dtype=np.int32)
            for one in sentences
            for first in range(0, len(one), max_tokens)
        ]
        self.lengths: NDArray[np.int64] = np.array([len(one) for one in cut], dtype=np.int64)
        self._ids = np.concatenate(cut) if cut else np.zeros(0, dtype=np.int32)
        self._ends = self.lengths.cumsum()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_predicted(self) -> int:
        """Tokens to predict: all tokens, and the end of each sentence."""
        return len(self._ids) + len(self)

    def counts(self, vocab_size: int) -> Tensor:
        """Return counts (V,) of each token; the ends of sentences count as id 0."""
        counts_V = torch.from_numpy(np.bincount(self._ids, minlength=vocab_size))
        counts_V[0] += len(self)
        return counts_V

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return ids (N, U), 0 after the end, and lengths (N,)."""
        ids = [
            torch.from_numpy(self._ids[end - length : end].astype(np.int64))
            for end, length in zip(self._ends[rows], self.lengths[rows], strict=True)
        ]
        return pad_sequence(ids, batch_first=True), torch.from_numpy(self.lengths[rows])

    def batches(
        self, batch_tokens: int, random: np.random.Generator | None = None
    ) -> list[NDArray[np.int64]]:
        """Return the rows of every batch of one pass; sorted by length if ``random`` is None."""
        if random is None:
            return self._packed(np.argsort(self.lengths, kind="stable"), batch_tokens)
        order = random.permutation(len(self))
        mean = max(1.0, float(self.lengths.mean()))
        size = max(1, round(_WINDOW * batch_tokens / mean))
        windows = [order[first : first + size] for first in range(0, len(order), size)]
        found = [
            batch
            for window in windows
            for batch in self._packed(
                window[np.argsort(self.lengths[window], kind="stable")], batch_tokens
            )
        ]
        return [found[index] for index in random.permutation(len(found))]

    def _packed(self, rows: NDArray[np.int64], batch_tokens: int) -> list[NDArray[np.int64]]:
        """Pack rows of rising length into batches of ``batch_tokens``, ends included."""
        found, first = [], 0
        for place in range(len(rows)):
            width = int(self.lengths[rows[place]]) + 1
            if place > first and (place + 1 - first) * width > batch_tokens:
                found.append(rows[first:place])
                first = place
        return [*found, rows[first:]] if len(rows) else []


class SentenceStream(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of batches, from step ``first_step`` on."""

    def __init__(
        self, sentences: Sentences, *, batch_tokens: int, seed: int, first_step: int
    ) -> None:
        self._sentences = sentences
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._first_step = first_step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        left, epoch = self._first_step, 0
        while True:
            random = np.random.default_rng([self._seed, epoch])
            batches = self._sentences.batches(self._batch_tokens, random)
            for rows in batches[left:]:
                yield self._sentences.batch(rows)
            left, epoch = max(0, left - len(batches)), epoch + 1
