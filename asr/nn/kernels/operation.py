"""Registration of kernels as torch operations, so that profilers of operations see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY: Any = torch.library.Library("asr", "FRAGMENT")  # type: ignore[no-untyped-call]


def define(schema: str, launch: Callable[..., Tensor], *, shape: Callable[..., Tensor]) -> None:
    """Define ``torch.ops.asr.<name>`` by its ``schema``, without a gradient.

    ``launch`` computes it, with the device of its first argument as the current one; ``shape``
    makes an empty result. (``torch.library.custom_op`` would do the same, but imports torch's
    compiler at the first call, which takes seconds.)
    """

    def launch_there(*args: Any) -> Tensor:
        with torch.cuda.device_of(args[0]):  # type: ignore[no-untyped-call]
            return launch(*args)

    _LIBRARY.define(schema)
    name = schema.partition("(")[0]
    for device in ("CUDA", "CPU"):  # the CPU is for Triton's interpreter
        _LIBRARY.impl(name, launch_there, device)
    _LIBRARY.impl(name, shape, "Meta")
