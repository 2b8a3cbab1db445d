"""Parameters and multiply-adds of a module, in total and by part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_flop_count,
    shape_wrapper,
)


@contextmanager
def watched(
    module: nn.Module, *, enter: Callable[[str], None], leave: Callable[[], None]
) -> Iterator[None]:
    """Report each submodule that runs inside ``module``, in evaluation mode, without gradients.

    ``enter`` gets the name of each submodule ("" for ``module`` itself) before its ``forward``;
    ``leave`` is called after it. Afterwards ``module`` is as it was.
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
    """Return the first ``depth`` names of a submodule's path, without numbers; "" for the whole."""
    names = [piece for piece in name.split(".") if piece and not piece.isdigit()]
    return ".".join(names[:depth])


def _enter(enter: Callable[[str], None], name: str, *_: object) -> None:
    enter(name)


def _leave(leave: Callable[[], None], *_: object) -> None:
    leave()


OWN_PART = "own"


def count_parameters(module: nn.Module, *, depth: int = 1) -> dict[str, int]:
    """Count the parameters of each part; a shared parameter counts once, at its first place."""
    counts: Counter[str] = Counter()
    for name, parameter in module.named_parameters():
        counts[part_name(name.rpartition(".")[0], depth) or OWN_PART] += parameter.numel()
    return dict(counts)


def multiply_adds(module: nn.Module, *args: Any) -> int:
    """Count the multiply-adds of ``module(*args)`` in evaluation mode, without gradients."""
    return sum(multiply_adds_by_part(module, *args).values())


def multiply_adds_by_part(module: nn.Module, *args: Any, depth: int = 1) -> dict[str, int]:
    """Count the multiply-adds of ``module(*args)`` by the part whose ``forward`` called them.

    Parts are in the order in which they first ran; parts without any are left out.
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
    """Count the multiply-adds of one operation of ``torch.ops`` that returned ``outputs``."""
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
    """Stop torch's own attention layers from running as one operation that hides its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Count the fused kernel for CPUs; a causal mask does not lower the count, as on CUDA."""
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
    """Count sums of weighted rows: each row is multiplied by its weight."""
    return 2 * math.prod(indices) * weight[1]


# Products that torch 2.11's own table lacks; its counter ignores them.
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
"""The operations (packets of ``torch.ops``) whose multiply-adds are counted."""
