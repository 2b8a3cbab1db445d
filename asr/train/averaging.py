"""Weight averaging: a moving average, or the mean over the last part of training.

Averaging of the weights' path: Polyak and Juditsky 1992. The growing decay of the moving average is
from TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.ranges import Count, Range, in_ranges
from asr.train.sharding import gathered, load_whole, local, shard

KINDS = ("none", "ema", "last")


@in_ranges("train.averaging")
@dataclass(frozen=True, kw_only=True)
class AveragingSpec:
    """The kind of weight average that a run validates and keeps.

    Args:
        kind: ``none``; ``ema``, a moving average over all steps; ``last``, the plain mean over
            the last steps.
        decay: of ``ema``. Average number n uses min(decay, (1 + n) / (10 + n)), so that early
            weights are soon forgotten.
        last_fraction: part of ``train.trainer.max_steps`` that ``last`` averages over.
        every_steps: steps between two weights that enter the average.

    Raises:
        InputError: a value is outside its range; the message names the key ``train.averaging.*``.
    """

    kind: str = "none"
    decay: Annotated[float, Range(0, 1, above=True, below=True)] = 0.999
    last_fraction: Annotated[float, Range(0, 1, above=True)] = 0.2
    every_steps: Count = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"train.averaging.kind={self.kind!r}: allowed: {', '.join(KINDS)}")

    def build(self, total_steps: int | None) -> AveragedWeights | None:
        """Build the callback that averages, None for ``kind: none``."""
        if self.kind == "none":
            return None
        if self.kind == "ema":
            return AveragedWeights(decay=self.decay, every_steps=self.every_steps)
        if total_steps is None:
            raise InputError(
                "train.averaging.kind='last' counts from the end: set train.trainer.max_steps"
            )
        first_step = total_steps - max(1, round(self.last_fraction * total_steps))
        return AveragedWeights(decay=None, every_steps=self.every_steps, first_step=first_step)


class _Holder(nn.Module):
    """A wrapper that gives ``model`` the parameter names it has inside the Lightning module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class AveragedWeights(WeightAveraging):
    """Lightning's weight averaging over parameters and stored buffers.

    Differences from Lightning's own: only the model is copied; tensors are averaged in one call per
    kind instead of one by one; buffers that are not stored are left out (they may change shape);
    integer buffers are copied; before the first average the current weights are used. Running
    statistics of batch normalisation are averaged with their weights.

    Args:
        decay: upper bound of a moving average's decay; None means the plain mean.
        every_steps: steps between two averages.
        first_step: first optimiser step, counted from 0, whose weights enter.
    """

    def __init__(self, *, decay: float | None, every_steps: int = 1, first_step: int = 0) -> None:
        super().__init__()
        self._decay = decay
        self._every_steps = every_steps
        self._first_step = first_step
        self.num_averaged = 0
        self._pairs: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the model."""
        if stage == "fit":
            assert isinstance(pl_module.model, nn.Module)
            self._average_model = AveragedModel(_Holder(pl_module.model), device=pl_module.device)
            self._average_model.requires_grad_(False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pair the tensors of both models, once they are on their device and sharded."""
        mesh = pl_module.device_mesh
        if mesh is not None:
            assert isinstance(self._averaged, AsrModel)
            shard(self._averaged, mesh["data_parallel"])
        self._pairs = self._pair(pl_module)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights after step ``step_idx`` (from 0) enter the average."""
        if step_idx is None or step_idx < self._first_step:
            return False
        return (step_idx - self._first_step) % self._every_steps == 0

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Average after an optimiser step."""
        step = trainer.global_step
        if step <= self._latest_update_step or not self.should_update(step_idx=step - 1):
            return
        assert self._average_model is not None
        assert self._pairs is not None
        averages, currents, other_averages, others = self._pairs
        if self.num_averaged:
            torch._foreach_lerp_(averages, currents, self._weight())
            if others:
                torch._foreach_copy_(other_averages, others)
        else:
            self._copy_current_to_average(pl_module)
        self.num_averaged += 1
        self._average_model.n_averaged.add_(1)
        self._latest_update_step = step

    @property
    def weights(self) -> dict[str, Tensor] | None:
        """Averaged state dict of the model; None before the first average.

        For a sharded model only the first process gets it, and all processes must ask for it.
        """
        return gathered(self._averaged.state_dict()) if self.num_averaged else None

    @property
    def _averaged(self) -> nn.Module:
        assert self._average_model is not None
        assert isinstance(self._average_model.module, _Holder)
        return self._average_model.module.model

    def _weight(self) -> float:
        """Return the weight of the current weights in the next average."""
        n = self.num_averaged
        if self._decay is None:
            return 1 / (n + 1)
        return 1 - min(self._decay, (1 + n) / (10 + n))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap in the average for validation."""
        if self.num_averaged:
            self._swap_models(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the current weights back in."""
        if self.num_averaged:
            self._swap_models(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the model."""
        if self.num_averaged:
            self._copy_average_to_current(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the counters; the average itself is the checkpoint's ``state_dict``."""
        return {**super().state_dict(), "num_averaged": self.num_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counters."""
        super().load_state_dict(state_dict)
        self.num_averaged = int(state_dict["num_averaged"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as ``state_dict``, the other weights as ``current_model_state``."""
        if not self.num_averaged:
            self._copy_current_to_average(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["state_dict"] = gathered(checkpoint["state_dict"])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load both; the average is not sharded yet."""
        assert self._average_model is not None
        average = {f"module.{name}": value for name, value in checkpoint["state_dict"].items()}
        self._average_model.load_state_dict(average | checkpoint["averaging_state"])
        load_whole(pl_module, checkpoint["current_model_state"])

    @torch.no_grad()
    def _swap_models(self, pl_module: LightningModule) -> None:
        averages, currents, other_averages, others = self._pair(pl_module)
        for average, current in zip(
            itertools.chain(averages, other_averages),
            itertools.chain(currents, others),
            strict=True,
        ):
            kept = average.clone()
            average.copy_(current)
            current.copy_(kept)

    @torch.no_grad()
    def _copy_average_to_current(self, pl_module: LightningModule) -> None:
        averages, currents, other_averages, others = self._pair(pl_module)
        torch._foreach_copy_(currents + others, averages + other_averages)

    @torch.no_grad()
    def _copy_current_to_average(self, pl_module: LightningModule) -> None:
        averages, currents, other_averages, others = self._pair(pl_module)
        torch._foreach_copy_(averages + other_averages, currents + others)

    def _pair(
        self, pl_module: LightningModule
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return floating tensors of average and module, then the others; each tensor once."""
        assert self._average_model is not None
        averages = self._average_model.module.state_dict(keep_vars=True)
        currents = pl_module.state_dict(keep_vars=True)
        assert averages.keys() == currents.keys()
        unique = {
            id(current): (local(averages[name].detach()), local(current.detach()))
            for name, current in currents.items()
        }
        floats = [pair for pair in unique.values() if pair[1].is_floating_point()]
        others = [pair for pair in unique.values() if not pair[1].is_floating_point()]
        return (
            [average for average, _ in floats],
            [current for _, current in floats],
            [average for average, _ in others],
            [current for _, current in others],
        )
