"""Parameters and multiply-adds of a module, in total and by part.

A part is named by the first ``depth`` names on the way to a submodule, numbers left out, so that
the layers of a stack add up: ``layers.3.attention`` belongs to ``layers`` at depth 1 and to
``layers.attention`` at depth 2. What a module does or owns itself is ``own``.

Multiply-adds are those of matrix products, weighted sums, convolutions and attention, as
``torch.utils.flop_counter`` sees them, on any device including ``meta``. Elementwise arithmetic,
softmax, normalisation and Fourier transforms are not counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_flop_count,
    shape_wrapper,
)

from asr.metrics.callers import part_name, watched

OWN_PART = "own"


def count_parameters(module: nn.Module, *, depth: int = 1) -> dict[str, int]:
    """Number of parameters of each part; a shared parameter counts once, where it comes first."""
    counts: Counter[str] = Counter()
    for name, parameter in module.named_parameters():
        counts[part_name(name.rpartition(".")[0], depth) or OWN_PART] += parameter.numel()
    return dict(counts)


def multiply_adds(module: nn.Module, *args: Any) -> int:
    """Multiply-adds of ``module(*args)`` in evaluation mode, without gradients."""
    return sum(multiply_adds_by_part(module, *args).values())


def multiply_adds_by_part(module: nn.Module, *args: Any, depth: int = 1) -> dict[str, int]:
    """Multiply-adds of ``module(*args)`` by the part whose ``forward`` asked for them.

    Parts come in the order in which they first ran; those without any are left out.
    """
    counts: Counter[str] = Counter()
    callers: list[str] = []
    num_seen = 0

    def charge_caller() -> None:
        nonlocal num_seen
        num_total = counter.get_total_flops()
        if callers and num_total > num_seen:
            counts[callers[-1]] += num_total - num_seen
        num_seen = num_total

    def enter(name: str) -> None:
        charge_caller()
        callers.append(part_name(name, depth) or OWN_PART)

    def leave() -> None:
        charge_caller()
        callers.pop()

    counter = FlopCounterMode(display=False, custom_mapping=_MISSING_FORMULAS)
    with watched(module, enter=enter, leave=leave), _no_fused_layers(), counter:
        module(*args)
    return {part: num_flops // 2 for part, num_flops in counts.items()}


def operation_multiply_adds(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any
) -> int:
    """Multiply-adds of one operation (an overload of ``torch.ops``) that made ``outputs``."""
    packet = function.overloadpacket
    if packet in _MISSING_FORMULAS:
        formula = shape_wrapper(_MISSING_FORMULAS[packet])  # type: ignore[no-untyped-call]
    elif packet in flop_registry:
        formula = flop_registry[packet]
    else:
        return 0
    return int(formula(*args, **kwargs, out_val=outputs)) // 2


@contextmanager
def _no_fused_layers() -> Iterator[None]:
    """Keep torch's own attention layers from running as one operation that hides its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """The fused kernel for CPUs; a causal mask does not lower the count, as on CUDA."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _matrix_vector_flops(matrix: Sequence[int], vector: Sequence[int], **_: object) -> int:
    return 2 * math.prod(matrix)


def _plus_matrix_vector_flops(
    bias: Sequence[int], matrix: Sequence[int], vector: Sequence[int], **_: object
) -> int:
    return 2 * math.prod(matrix)


def _plus_batched_matrix_flops(
    bias: Sequence[int], left: Sequence[int], right: Sequence[int], **_: object
) -> int:
    return 2 * math.prod(left) * right[-1]


def _weighted_bags_flops(
    weight: Sequence[int], indices: Sequence[int], *_: object, **__: object
) -> int:
    """Sums of weighted rows: every row summed is multiplied by its weight."""
    return 2 * math.prod(indices) * weight[1]


# Products that torch 2.11's own table lacks; its counter then reports nothing at all for them.
_MISSING_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.addbmm: _plus_batched_matrix_flops,
    torch.ops.aten.addmv: _plus_matrix_vector_flops,
    torch.ops.aten.mv: _matrix_vector_flops,
    torch.ops.aten.dot: _matrix_vector_flops,
    torch.ops.aten._embedding_bag: _weighted_bags_flops,
    torch.ops.aten._embedding_bag_forward_only: _weighted_bags_flops,
}
COUNTED = frozenset({*flop_registry, *_MISSING_FORMULAS})
"""The operations (packets of ``torch.ops``) that have multiply-adds."""
