"""Kernels as operations of torch, so that what watches operations (time by part) sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY: Any = torch.library.Library("asr", "FRAGMENT")  # type: ignore[no-untyped-call]


def define(schema: str, launch: Callable[..., Tensor], *, shape: Callable[..., Tensor]) -> None:
    """Define ``torch.ops.asr.<name>`` by its ``schema``; it has no gradient.

    ``launch`` computes it, called with the device of its first argument as the present one;
    ``shape`` makes an empty result. (``torch.library.custom_op`` would do the same, and import
    torch's compiler with the first call, which takes seconds.)
    """

    def launch_there(*args: Any) -> Tensor:
        with torch.cuda.device_of(args[0]):  # type: ignore[no-untyped-call]
            return launch(*args)

    _LIBRARY.define(schema)
    name = schema.partition("(")[0]
    for device in ("CUDA", "CPU"):  # on the CPU in Triton's interpreter
        _LIBRARY.impl(name, launch_there, device)
    _LIBRARY.impl(name, shape, "Meta")
