"""Who is running: the submodules of a module as they are entered and left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn


@contextmanager
def watched(
    module: nn.Module, *, enter: Callable[[str], None], leave: Callable[[], None]
) -> Iterator[None]:
    """Calls of ``module`` in evaluation mode, without gradients, are told submodule by submodule.

    ``enter`` gets the name of each submodule ("" for ``module`` itself) before its ``forward``,
    ``leave`` is called behind it. Whatever happens, ``module`` is left as it was.
    """
    modes = {submodule: submodule.training for submodule in module.modules()}
    hooks = []
    try:
        for name, submodule in module.named_modules():
            hooks.append(submodule.register_forward_pre_hook(partial(_enter, enter, name)))
            hooks.append(submodule.register_forward_hook(partial(_leave, leave)))
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for submodule, training in modes.items():
            submodule.training = training


def part_name(name: str, depth: int | None = None) -> str:
    """The first ``depth`` names on the way to a submodule, numbers left out; "" for the whole."""
    names = [piece for piece in name.split(".") if piece and not piece.isdigit()]
    return ".".join(names[:depth])


def _enter(enter: Callable[[str], None], name: str, *_: object) -> None:
    enter(name)


def _leave(leave: Callable[[], None], *_: object) -> None:
    leave()
