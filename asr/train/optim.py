"""AdamW with a warm-up schedule, and learning rates for parts of the model.

AdamW: Loshchilov and Hutter 2019. ``noam``: Vaswani et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from asr.errors import InputError
from asr.ranges import Range, Share, in_ranges
from asr.train.freeze import named_modules

DECAYS = ("cosine", "linear", "noam", "constant")
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@in_ranges("train.optim.parts")
@dataclass(frozen=True, kw_only=True)
class PartRate:
    """A separate learning rate for ``part``: ``factor`` times the model's.

    ``part`` is the name of a module or a range of layers, see `asr.train.freeze.named_modules`.
    """

    part: str
    factor: Annotated[float, Range(0, 1000, above=True)]


@in_ranges("train.optim")
@dataclass(frozen=True, kw_only=True)
class AdamWSpec:
    """AdamW with a learning rate that rises linearly to ``peak_lr`` and then decays.

    Args:
        peak_lr: the highest learning rate, reached at step ``warmup_steps``.
        betas: decay of the two moments.
        weight_decay: applied to weights, not to biases, gains of norms and other vectors.
        warmup_steps: steps up to the peak; or
        warmup_fraction: the same as a part of all steps. Give one of the two.
        decay: the schedule after warm-up, see :meth:`lr`.
        final_lr_fraction: part of ``peak_lr`` at the end of the decay (a floor with ``noam``).
        parts: parts of the model with separate rates; the last one that holds a parameter counts.

    Raises:
        InputError: a value is outside its range; the message names the key ``train.optim.*``.
    """

    peak_lr: Annotated[float, Range(0, 100, above=True)]
    betas: Sequence[Annotated[float, Range(0, 1, below=True)]] = (0.9, 0.98)
    weight_decay: Annotated[float, Range(0, 100)] = 0.01
    warmup_steps: Annotated[int, Range(0, 10**9)] | None = None
    warmup_fraction: Annotated[float, Range(0, 1, below=True)] | None = None
    decay: str = "cosine"
    final_lr_fraction: Share = 0.0
    parts: Sequence[PartRate] = ()

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise InputError(f"train.optim.betas={list(self.betas)}: allowed: two numbers")
        if (self.warmup_steps is None) == (self.warmup_fraction is None):
            raise InputError(
                f"train.optim.warmup_steps={self.warmup_steps}, "
                f"train.optim.warmup_fraction={self.warmup_fraction}: give one, null for the other"
            )
        if self.decay not in DECAYS:
            raise InputError(f"train.optim.decay={self.decay!r}: allowed: {', '.join(DECAYS)}")

    @property
    def needs_total(self) -> bool:
        """Whether the schedule depends on the total number of steps."""
        return self.decay in ("cosine", "linear") or self.warmup_fraction is not None

    def num_warmup_steps(self, total_steps: int | None) -> int:
        """Return the number of warm-up steps in a run of ``total_steps``."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        assert self.warmup_fraction is not None
        assert total_steps is not None
        return round(self.warmup_fraction * total_steps)

    def lr(self, step: int, total_steps: int | None) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0.

        With w warm-up steps, peak p, final fraction f and n = step + 1, the rate is p * n / w while
        n <= w. After that, with r = (n - w) / (total - w), at most 1:

        - cosine: p * (f + (1 - f) * (1 + cos(pi * r)) / 2)
        - linear: p * (1 - (1 - f) * r)
        - noam: p * max(f, sqrt(max(w, 1) / n))
        - constant: p
        """
        warmup, fraction, n = self.num_warmup_steps(total_steps), self.final_lr_fraction, step + 1
        if n <= warmup:
            return self.peak_lr * n / warmup
        if self.decay == "constant":
            return self.peak_lr
        if self.decay == "noam":
            return self.peak_lr * max(fraction, math.sqrt(max(warmup, 1) / n))
        assert total_steps is not None
        done = min(1.0, (n - warmup) / max(1, total_steps - warmup))
        if self.decay == "cosine":
            return self.peak_lr * (fraction + (1 - fraction) * (1 + math.cos(math.pi * done)) / 2)
        return self.peak_lr * (1 - (1 - fraction) * done)

    def build(
        self, model: nn.Module, *, total_steps: int | None, fused: bool
    ) -> tuple[AdamW, LambdaLR]:
        """Build the optimiser of ``model`` and its schedule, to be stepped after every step.

        ``fused`` selects the kernel that can skip a step on the device (its ``found_inf``).
        """
        if total_steps is None and self.needs_total:
            raise InputError(
                f"train.optim.decay={self.decay!r} (warmup_fraction={self.warmup_fraction}) goes "
                "by the number of steps: set train.trainer.max_steps"
            )
        optimizer = AdamW(
            [
                {**group, "lr": group.get(FACTOR, 1.0) * self.peak_lr}
                for group in parameter_groups(model, self.weight_decay, self.parts)
            ],
            lr=self.peak_lr,
            betas=(self.betas[0], self.betas[1]),
            fused=fused,
        )
        factor: Callable[[int], Any] = lambda step: self.lr(step, total_steps) / self.peak_lr  # noqa: E731
        return optimizer, LambdaLR(optimizer, factor)


FACTOR = "lr_factor"
"""Key of a parameter group: its learning rate relative to the model's; default 1."""


def parameter_groups(
    model: nn.Module, weight_decay: float, parts: Sequence[PartRate] = ()
) -> list[dict[str, Any]]:
    """Group parameters by whether ``weight_decay`` applies; norms, biases and vectors have none.

    A parameter is a bias if its name says so (``bias``, ``pos_bias_u``). Parameters without a
    gradient are left out. Each factor of ``parts`` has two groups of its own.

    Raises:
        InputError: the model does not have one of ``parts``.
    """
    factors = {
        id(parameter): one.factor
        for one in parts
        for _, module in named_modules(model, one.part, f"train.optim.parts, part={one.part}")
        for parameter in module.parameters()
    }
    decayed: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    free: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_free = parameter.ndim < 2 or "bias" in name or isinstance(module, _NORMS)
            kind = free if is_free else decayed
            kind.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    groups = [
        {"params": params, "weight_decay": decay} | ({FACTOR: factor} if factor != 1 else {})
        for kind, decay in ((decayed, weight_decay), (free, 0.0))
        for factor, params in kind.items()
    ]
    return [group for group in groups if group["params"]]


def scales_loss(trainer: Trainer) -> bool:
    """Return whether the loss is scaled, so that gradients in fp16 do not vanish."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def can_fuse(module: LightningModule) -> bool:
    """Return whether AdamW's fused kernel serves: there is one, and gradients are not scaled."""
    return module.device.type in ("cpu", "cuda") and not scales_loss(module.trainer)
