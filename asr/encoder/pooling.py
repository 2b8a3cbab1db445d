"""Token pooling: neighbouring frames are merged between layers, so that higher layers have fewer.

PSViT (Chen et al. 2021) reduces the number of tokens with depth and shares attention between
neighbouring layers. Tokens here are frames, merged into their mean, which needs no parameters.
A map over the frames before a merge does not fit those after it, so no group of reuse crosses a
merge.

Shape legend: B batch, T frames, S frames after a merge, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn.frames import empty_spans, span_means
from asr.reuse.schedule import Schedule

POOL_SIZE = 2
"""Number of frames that are merged into one."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """The merges of an encoder: one after each number of layers in ``after``."""

    after: tuple[int, ...] = ()

    @classmethod
    def in_schedule(cls, after: Sequence[int], schedule: Schedule) -> Pooling:
        """Return the merges between the layers of ``schedule``.

        Raises:
            InputError: a merge is not between two layers, is given twice, or is between a follower
                and its leader.
        """
        key, depth = f"encoder.pool_after={list(after)}", len(schedule)
        if not set(after) <= set(range(1, depth)) or len(set(after)) < len(after):
            allowed = f"numbers of layers from 1 to {depth - 1}, each once" if depth > 1 else "[]"
            raise InputError(f"{key}: allowed of encoder.num_layers={depth}: {allowed}")
        for layer in schedule:
            leader = layer.layer if layer.leader is None else layer.leader
            crossed = [number for number in after if leader < number <= layer.layer]
            if crossed:
                raise InputError(
                    f"{key}: layer {layer.layer} follows layer {leader} (counted from 0), and the "
                    f"frames between them are merged, after {crossed[0]} layers: reuse must not "
                    "cross a change of frame rate; let a group of reuse end there"
                )
        return cls(tuple(sorted(after)))

    def check_absent(self) -> None:
        """Raise InputError if there are merges, for encoders that see parts of utterances."""
        if self.after:
            raise InputError(
                f"encoder.pool_after={list(self.after)} merges frames of whole utterances and "
                "neither streams nor trains with encoder.chunk_frames; allowed there: []"
            )

    def below(self, num_layers: int) -> Pooling:
        """Return the merges among the first ``num_layers`` layers."""
        return Pooling(tuple(number for number in self.after if number < num_layers))

    @property
    def factor(self) -> int:
        """Number of frames of the first layer per frame of the last."""
        return int(POOL_SIZE ** len(self.after))

    def num_frames(self, lengths_B: Tensor) -> Tensor:
        """Return the lengths after all merges, given ``lengths_B`` in the first layer."""
        if not self.after:
            return lengths_B
        return -torch.div(-lengths_B, self.factor, rounding_mode="floor")


def merged(x_BTD: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return means (B, S, D) of neighbouring valid frames, and the padding mask (B, S).

    The last frame of an odd number is its own mean.
    """
    return span_means(x_BTD, padding_mask, POOL_SIZE), empty_spans(padding_mask, POOL_SIZE)
