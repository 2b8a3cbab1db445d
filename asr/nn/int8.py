"""Linear layers in 8 bits on a CPU, for inference.

Weights are packed once, with one scale per output. Inputs have one scale and zero point per call,
so the utterances of a batch are rounded together, and the result of one depends slightly on the
others. The matrix products are PyTorch's quantised operations (FBGEMM, Khudia et al. 2021, or
oneDNN). Convolutions stay in float32: as products of patches they take as long in 8 bits, and
PyTorch's own (``conv2d_dynamic``) rounds its output to the step size of its input.

x86 processors without VNNI add products in pairs of 16 bits, which overflow at 2 x 255 x 127.
Inputs therefore have 7 bits there, and 8 with VNNI.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.errors import InputError

_LARGEST = 127
_ENGINES = frozenset({"x86", "fbgemm"})


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, ``num_bytes`` in size; it has no gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach()
        self.num_bytes = linear.weight.numel()
        self._packed = torch.ops.quantized.linear_prepack(_rounded(linear.weight.detach()), bias)
        self._reduce_range = not has_vnni()

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for (..., I), both float32."""
        output: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._reduce_range)
        return output


def to_int8(module: nn.Module) -> None:
    """Replace the linear layers in ``module``.

    The rest of the module computes in float32. Its ``state_dict`` no longer holds the replaced
    weights.

    Raises:
        InputError: see `check_int8`.
    """
    check_int8(next(module.parameters()).device, "dtype int8")
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))


def check_int8(device: torch.device | str, where: str) -> None:
    """Raise InputError, beginning with ``where``, unless 8-bit products run on ``device``."""
    if torch.device(device).type != "cpu":
        raise InputError(f"{where}: computes on the CPU, not on {device}; use bfloat16 there")
    if not runs_int8():
        raise InputError(f"{where}: this build of PyTorch has no products in 8 bits (FBGEMM)")


def runs_int8() -> bool:
    """Return whether this build of PyTorch has 8-bit products."""
    return not _ENGINES.isdisjoint(torch.backends.quantized.supported_engines)


def packed_bytes(module: nn.Module) -> int:
    """Return the bytes of the packed weights in ``module``, which its ``state_dict`` lacks."""
    return sum(one.num_bytes for one in module.modules() if isinstance(one, Int8Linear))


def has_vnni() -> bool:
    """Return whether the processor adds four 8-bit products in 32 bits, without overflow."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_vnni", "avx_vnni"))


def _rounded(weight_OI: Tensor) -> Tensor:
    """Return the weights in 8 bits with one scale per output."""
    scale_O = weight_OI.abs().amax(1).double() / _LARGEST
    scale_O = scale_O.clamp_min(torch.finfo(torch.float32).tiny)  # for outputs with zero weights
    zero_O = torch.zeros(len(weight_OI), dtype=torch.int64)
    return torch.quantize_per_channel(weight_OI, scale_O, zero_O, 0, torch.qint8)
