"""Products in 8 bits on a CPU, for inference: weights packed once, inputs scaled at every call.

Weights have one scale per output. Inputs have one scale and zero point per call, so utterances of
a batch are rounded together: what one gives depends a little on the others. The products are those
of PyTorch's quantised operations (FBGEMM, Khudia et al. 2021, or oneDNN). Convolutions stay in
float32: laid out as products of patches they take as long, and PyTorch's own (``conv2d_dynamic``)
rounds its output to the steps of its input.

x86 processors without VNNI add products in pairs of 16 bits, which overflow at 255 x 127 twice. So
inputs have 7 bits there, and 8 where there is VNNI.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.errors import InputError

_LARGEST = 127
_ENGINES = frozenset({"x86", "fbgemm"})


class Int8Linear(nn.Module):
    """A linear layer with weights of 8 bits, ``num_bytes`` of them; it takes no gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach()
        self.num_bytes = linear.weight.numel()
        self._packed = torch.ops.quantized.linear_prepack(_rounded(linear.weight.detach()), bias)
        self._reduce_range = not has_vnni()

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (..., I) to (..., O)."""
        output: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._reduce_range)
        return output


def to_int8(module: nn.Module) -> None:
    """Replace the linear layers below ``module``.

    What is left of it computes in float32. Its ``state_dict`` no longer holds the weights.

    Raises:
        InputError: see `check_int8`.
    """
    check_int8(next(module.parameters()).device, "dtype int8")
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))


def check_int8(device: torch.device | str, where: str) -> None:
    """Raise InputError, which begins with ``where``, unless these products run on ``device``."""
    if torch.device(device).type != "cpu":
        raise InputError(f"{where}: computes on the CPU, not on {device}; use bfloat16 there")
    if not runs_int8():
        raise InputError(f"{where}: this build of PyTorch has no products in 8 bits (FBGEMM)")


def runs_int8() -> bool:
    """Whether this build of PyTorch has the products."""
    return not _ENGINES.isdisjoint(torch.backends.quantized.supported_engines)


def packed_bytes(module: nn.Module) -> int:
    """Bytes of the packed weights in ``module``, which its ``state_dict`` does not hold."""
    return sum(one.num_bytes for one in module.modules() if isinstance(one, Int8Linear))


def has_vnni() -> bool:
    """Whether the processor adds four products of 8 bits in 32, so that none overflows."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_vnni", "avx_vnni"))


def _rounded(weight_OI: Tensor) -> Tensor:
    """Weights in 8 bits with a scale for every output."""
    scale_O = weight_OI.abs().amax(1).double() / _LARGEST
    scale_O = scale_O.clamp_min(torch.finfo(torch.float32).tiny)  # outputs whose weights are zero
    zero_O = torch.zeros(len(weight_OI), dtype=torch.int64)
    return torch.quantize_per_channel(weight_OI, scale_O, zero_O, 0, torch.qint8)
