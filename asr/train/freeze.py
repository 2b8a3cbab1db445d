"""Freezing parts of a model, for the whole run or with gradual unfreezing.

A frozen module gets no gradient and is in inference mode: its dropout is off, and running
statistics of its batch normalisation stay. The encoder runs the frozen layers below its first
trained layer without autograd (`asr.encoder.stack.Encoder`), so their backward pass costs nothing.
Gradual unfreezing from the top is from Howard and Ruder 2018 (ULMFiT, section 3.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from torch import nn

from asr.errors import InputError
from asr.ranges import Count, in_ranges

_LAYERS = re.compile(r"(?:encoder\.)?layers\.(\d+)-(\d+)")
_ONE_LAYER = re.compile(r"layers\.\d+(?:\..+)?")
_DEEPEST = 3  # levels of the names in a message: encoder.layers.0


def named_modules(model: nn.Module, name: str, key: str) -> list[tuple[str, nn.Module]]:
    """Return the modules that ``name`` stands for, each with its full name.

    ``name`` is a module (``head``, ``encoder.subsampling``, ``encoder.layers.2.attention``) or a
    range of layers, ends included (``layers.0-3``); ``encoder.`` may be left out before layers.

    Raises:
        InputError: there is no such module; the message names ``key``.
    """
    span = _LAYERS.fullmatch(name)
    if span is not None:
        names = [f"encoder.layers.{layer}" for layer in range(int(span[1]), int(span[2]) + 1)]
    else:
        names = [f"encoder.{name}" if _ONE_LAYER.fullmatch(name) else name]
    known = dict(model.named_modules())
    missing = [one for one in names if one not in known or not one]
    if missing or not names:
        parts = [
            one
            for one, module in known.items()
            if one and one.count(".") < _DEEPEST - 1 and next(module.parameters(), None) is not None
        ]
        layers = [one for one in known if re.fullmatch(r"encoder\.layers\.\d+", one)]
        last = f", layers.0 to layers.{len(layers) - 1}, layers.A-B" if layers else ""
        raise InputError(f"{key}: no module {name}; such as {', '.join(parts)}{last}")
    return [(one, known[one]) for one in names]


@in_ranges("train.freeze")
@dataclass(frozen=True, kw_only=True)
class Freezing:
    """The parts of the model that are not trained.

    Args:
        modules: names of modules, or ranges of layers, see `named_modules`.
        unfreeze_every_steps: each time this many steps have passed, the frozen module nearest to
            the output is unfrozen; the encoder unfreezes layer by layer. None freezes for the
            whole run.

    Raises:
        InputError: ``unfreeze_every_steps`` is set without modules.
    """

    modules: Sequence[str] = ()
    unfreeze_every_steps: Count | None = None

    def __post_init__(self) -> None:
        if self.unfreeze_every_steps is not None and not self.modules:
            raise InputError(
                f"train.freeze.unfreeze_every_steps={self.unfreeze_every_steps}: there is nothing "
                "frozen; name train.freeze.modules, or set it to null"
            )

    def check(self, *, num_processes: int) -> None:
        """Raise InputError if processes that train together would disagree on gradients."""
        if self.unfreeze_every_steps is not None and num_processes > 1:
            raise InputError(
                f"train.freeze.unfreeze_every_steps={self.unfreeze_every_steps}: not with "
                f"{num_processes} processes, which agree on what is trained once; allowed: null"
            )

    def of(self, model: nn.Module) -> Frozen:
        """Return the frozen modules of ``model``.

        Raises:
            InputError: a module does not exist, or nothing is left to train.
        """
        key = "train.freeze.modules"
        found = dict(part for name in self.modules for part in named_modules(model, name, key))
        frozen = {id(parameter) for module in found.values() for parameter in module.parameters()}
        if all(id(parameter) in frozen for parameter in model.parameters()):
            raise InputError(f"{key}={list(self.modules)}: nothing is left to train")
        return Frozen(_in_order(model, found), self.unfreeze_every_steps)


class Frozen:
    """Frozen ``units`` of a model, modules unfrozen together, in the order of the data flow."""

    def __init__(
        self, units: Sequence[Sequence[nn.Module]], unfreeze_every_steps: int | None
    ) -> None:
        self._units = list(units)
        self._every = unfreeze_every_steps
        self._num_applied = 0

    @property
    def is_gradual(self) -> bool:
        """Whether units are unfrozen during the run."""
        return self._every is not None

    def num_frozen(self, step: int) -> int:
        """Return how many units are frozen in optimiser step ``step``, counted from 0."""
        thawed = 0 if self._every is None else step // self._every
        return max(0, len(self._units) - thawed)

    def apply(self, step: int) -> None:
        """Freeze what is frozen in step ``step``, and train the rest.

        A module inside one that is still frozen stays frozen.
        """
        num_frozen = self._num_applied = self.num_frozen(step)
        for modules, is_trained in (
            (self._units[num_frozen:], True),
            (self._units[:num_frozen], False),
        ):
            for module in chain.from_iterable(modules):
                module.requires_grad_(is_trained).train(is_trained)

    def advance(self, step: int) -> None:
        """Update the model for step ``step``, if that changes anything."""
        if self.num_frozen(step) != self._num_applied:
            self.apply(step)


def _in_order(model: nn.Module, found: Mapping[str, nn.Module]) -> list[list[nn.Module]]:
    """Return the modules of ``found`` in model order, with the encoder split into parts.

    A module without parameters belongs to the one before it.
    """
    known = dict(model.named_modules())
    names = {part for name in found for part in _parts(name, list(known))}
    units: list[list[nn.Module]] = []
    for module in (module for name, module in known.items() if name in names):
        if units and next(module.parameters(), None) is None:
            units[-1].append(module)
        else:
            units.append([module])
    return units


def _parts(name: str, known: Sequence[str]) -> list[str]:
    """Return the parts of the encoder and its single layers; any other name unchanged."""
    if name not in ("encoder", "encoder.layers"):
        return [name]
    children = [one for one in known if one.rpartition(".")[0] == name]
    return [part for child in children for part in _parts(child, known)]
