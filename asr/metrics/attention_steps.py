"""Which step of attention an operation belongs to, told by the data it reads.

Names of modules do not tell scores from mix, the less where a map was made in another layer, or
comes tile by tile. What tensors were made of does:

- a product with a parameter is a projection,
- a product of what projections made gives scores, and softmax makes a map of them,
- a product with a map is the mix, and so is a product with the result of another product where
  there is no softmax (linear attention),
- everything else (adding, masking, copying) goes with the last step that made what it reads, or
  with the scores where no step did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from asr.metrics.cost import COUNTED

PROJECTIONS, SCORES, SOFTMAX, MIX, FUSED = (
    "projections",
    "scores",
    "softmax",
    "mix",
    "fused attention",
)
STEPS = (PROJECTIONS, SCORES, SOFTMAX, MIX, FUSED)
"""The parts of attention in the order in which they run; FUSED stands for the last three."""


class _Made(IntEnum):
    """By what step the data of a tensor was made, earliest first."""

    GIVEN = 0
    LEARNT = 1
    PROJECTED = 2
    SCORED = 3
    MAPPED = 4
    MIXED = 5
    FUSED = 6


_GOES_WITH = {
    _Made.GIVEN: SCORES,
    _Made.LEARNT: SCORES,
    _Made.PROJECTED: PROJECTIONS,
    _Made.SCORED: SCORES,
    _Made.MAPPED: MIX,
    _Made.MIXED: MIX,
    _Made.FUSED: FUSED,
}


class AttentionSteps:
    """Follows the data through the operations of ``module``, one after the other.

    Data is known by its memory, which views share. It must see every operation, those outside
    attention through `forget`: memory is used again.
    """

    def __init__(self, module: nn.Module) -> None:
        learnt = [*module.parameters(), *module.buffers()]
        self._made = {_memory(tensor): _Made.LEARNT for tensor in learnt}

    def step(self, operation: Any, inputs: object, outputs: object) -> str:
        """The part, one of `STEPS`, of an operation in attention that made ``outputs``."""
        read = {self._made.get(_memory(tensor), _Made.GIVEN) for tensor in _tensors(inputs)}
        part, made = _judge(operation, read or {_Made.GIVEN})
        for tensor in _tensors(outputs):
            self._made[_memory(tensor)] = made
        return part

    def forget(self, outputs: object) -> None:
        """An operation outside attention made ``outputs``."""
        for tensor in _tensors(outputs):
            self._made.pop(_memory(tensor), None)


def _judge(operation: Any, read: Iterable[_Made]) -> tuple[str, _Made]:
    name = operation.overloadpacket.__name__
    latest = max(read)
    if "attention" in name:
        return FUSED, _Made.FUSED
    if "softmax" in name:
        return SOFTMAX, _Made.MAPPED
    if operation.overloadpacket not in COUNTED:
        return _GOES_WITH[latest], latest
    if _Made.LEARNT in read:
        return PROJECTIONS, _Made.PROJECTED
    if latest >= _Made.SCORED:
        return MIX, _Made.MIXED
    return SCORES, _Made.SCORED


def _tensors(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
