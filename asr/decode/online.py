"""Online search: decoding a live stream block by block.

A search with a method ``online`` carries its hypotheses from block to block, so the cost of a block
does not grow with the stream. Any other search decodes all frames of a segment again.

Shape legend: T frames, X head outputs per frame.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor

from asr.decode.greedy import GreedyDecoder
from asr.decode.search import Search
from asr.types import Hypothesis, Labels


class OnlineSearch(Protocol):
    """The search of one segment of a stream."""

    def advance(self, outputs_TX: Tensor, /) -> None:
        """Search more frames, at least one."""

    def best(self) -> Hypothesis:
        """Return the best hypothesis of the frames so far, scored with all scorers of the search.

        End scores and rescoring are left out.
        """

    def path(self) -> Hypothesis:
        """Return the hypothesis that decides where the segment ends."""

    def labels(self, num_frames: int, /) -> Labels:
        """Return what `Search.label` returns for the first ``num_frames`` frames."""


def online_search(search: Search, vocab_size: int) -> OnlineSearch:
    """Return the search of a new segment.

    If the head has CTC, the first ``vocab_size`` outputs of a frame are CTC log probabilities.
    """
    if _is_online(type(search)):
        found: OnlineSearch = cast(Any, search).online()
        return found
    return _Repeated(search, vocab_size if isinstance(search, GreedyDecoder) else None)


def _is_online(kind: type) -> bool:
    """Return whether the class that defines ``online`` is, or derives from, that of ``label``."""

    def owner(name: str) -> type | None:
        return next((one for one in kind.__mro__ if name in vars(one)), None)

    online, label = owner("online"), owner("label")
    return online is not None and label is not None and issubclass(online, label)


class _Repeated:
    """An online search that decodes all frames of a segment again for every result.

    With ``vocab_size`` it does so once, at the end, and uses CTC's best path until then. Hybrid
    heads need this, since their attention decoder reads the whole segment.
    """

    def __init__(self, search: Search, vocab_size: int | None) -> None:
        self._search = search
        self._vocab_size = vocab_size
        self._best_path = GreedyDecoder().online()
        self._outputs: list[Tensor] = []
        self._best: Hypothesis | None = None

    def advance(self, outputs_TX: Tensor) -> None:
        """See `OnlineSearch`."""
        self._outputs.append(outputs_TX)
        self._best = None
        if self._vocab_size is not None:
            self._best_path.advance(outputs_TX[:, : self._vocab_size])

    def best(self) -> Hypothesis:
        """See `OnlineSearch`."""
        if self._vocab_size is not None:
            return self._best_path.best()
        if self._best is None:
            self._best = self._search.collapse(self.labels(sum(map(len, self._outputs))))
        return self._best

    path = best

    def labels(self, num_frames: int) -> Labels:
        """See `OnlineSearch`."""
        outputs_TX = torch.cat(self._outputs)[:num_frames]
        return self._search.label(outputs_TX[None], torch.tensor([num_frames]))[0]
