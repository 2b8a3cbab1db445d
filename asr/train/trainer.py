"""Device, precision and length of a training run: its settings and its number of steps."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn

from asr.encoder.stack import Checkpointing, Encoder
from asr.errors import InputError
from asr.ranges import Count, Patience, Range, Threads, in_ranges
from asr.train.checkpoint import PlainCheckpointIO
from asr.train.control import Limits
from asr.train.sharding import ShardedStrategy
from asr.train.state import RunState
from asr.train.stream import TrainLoader

_log = logging.getLogger(__name__)
_PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}
_DEVICES = {"cpu": "cpu", "gpu": "cuda", "mps": "mps"}
STRATEGIES = ("auto", "ddp", "fsdp")
ACCELERATORS = ("auto", "cpu", "gpu", "mps")


@in_ranges("train.trainer")
@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """The settings of a run's length and device; for the optimiser see `asr.train.optim`.

    Args:
        max_steps: optimiser steps, max_epochs: passes over the training data, max_minutes: wall
            time of all resumptions together; the first one reached ends the run.
        precision: ``fp32``; ``bf16`` or ``fp16`` for autocast with fp32 weights.
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``.
        devices: number of devices on each of ``num_nodes`` machines.
        strategy: for several devices: ``ddp`` holds the whole model on each, ``fsdp`` a shard of
            it; ``auto`` is ``ddp`` if there are several.
        gradient_clip: largest norm of the gradient; None does not clip.
        accumulate: batches in one step.
        validate_every_steps: steps between validations, or
        validate_every_epochs: epochs; there is always one at the end.
        save_every_steps: steps, and
        save_every_minutes: minutes between two checkpoints; every validation also saves one.
        max_bad_steps_in_row: consecutive steps with a loss or gradient that is not finite, or
        max_bad_steps: such steps in the whole run, above which it ends.
        activation_checkpointing: ``layers`` or whole reuse ``groups`` of the encoder keep only
            their input and run again for gradients: less memory, more time; or ``none``.
        num_threads: CPU threads of PyTorch; None leaves them unchanged.
        log_every_steps: steps between two rows in ``logs/``.
        print_every_s: seconds between two lines if standard error is not a terminal.
        loggers: ``csv``, which is always on, ``tensorboard``, ``wandb``, ``mlflow``, and configs
            of Lightning loggers in plugins.
        callbacks: configs of Lightning callbacks in plugins; they run after our own.

    Raises:
        InputError: a value is outside its range; the message names the key ``train.trainer.*``.
    """

    max_steps: Count | None = None
    max_epochs: Count | None = None
    max_minutes: Patience | None = None
    precision: str = "fp32"
    accelerator: str = "auto"
    devices: Annotated[int, Range(1, 1024)] = 1
    num_nodes: Annotated[int, Range(1, 10_000)] = 1
    strategy: str = "auto"
    gradient_clip: Annotated[float, Range(0, 1e6, above=True)] | None = 5.0
    accumulate: Annotated[int, Range(1, 10_000)] = 1
    validate_every_steps: Count | None = None
    validate_every_epochs: Count | None = None
    save_every_steps: Count | None = None
    save_every_minutes: Patience | None = 10.0
    max_bad_steps_in_row: Count = 20
    max_bad_steps: Annotated[int, Range(0, 10**9)] = 100
    activation_checkpointing: Checkpointing = "none"
    num_threads: Threads | None = None
    log_every_steps: Count = 20
    print_every_s: Patience = 10.0
    loggers: Sequence[Any] = ("csv", "tensorboard")
    callbacks: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_epochs is None and self.max_minutes is None:
            raise InputError("train.trainer: set max_steps, max_epochs or max_minutes")
        if self.precision not in _PRECISIONS:
            raise InputError(
                f"train.trainer.precision={self.precision!r}: allowed: {', '.join(_PRECISIONS)}"
            )
        if self.activation_checkpointing not in get_args(Checkpointing):
            raise InputError(
                f"train.trainer.activation_checkpointing={self.activation_checkpointing!r}: "
                f"allowed: {', '.join(get_args(Checkpointing))}"
            )
        if self.accelerator not in ACCELERATORS:
            raise InputError(
                f"train.trainer.accelerator={self.accelerator!r}: "
                f"allowed: {', '.join(ACCELERATORS)}"
            )
        if self.strategy not in STRATEGIES:
            raise InputError(
                f"train.trainer.strategy={self.strategy!r}: allowed: {', '.join(STRATEGIES)}"
            )
        if self.is_sharded and self.precision == "fp16":
            raise InputError(
                "train.trainer.precision='fp16': not with strategy=fsdp, whose gradients cannot be "
                "scaled; allowed: fp32, bf16"
            )

    @property
    def num_processes(self) -> int:
        """Processes on all machines, one for each device."""
        return self.devices * self.num_nodes

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds only a shard of the model."""
        return self.strategy == "fsdp"

    def checkpoint_activations(self, model: nn.Module) -> None:
        """Set ``activation_checkpointing`` in the encoders of ``model``."""
        for module in model.modules():
            if isinstance(module, Encoder):
                module.checkpointing = self.activation_checkpointing

    @property
    def limits(self) -> Limits:
        """The end of the run, and the intervals of its validation and checkpoints."""
        return Limits(
            max_steps=self.max_steps,
            max_epochs=self.max_epochs,
            max_minutes=self.max_minutes,
            validate_every_steps=self.validate_every_steps,
            validate_every_epochs=self.validate_every_epochs,
            save_every_steps=self.save_every_steps,
            save_every_minutes=self.save_every_minutes,
        )

    def resolve_accelerator(self) -> str:
        """Return the device that this machine trains on: ``cpu``, ``gpu`` or ``mps``.

        Raises:
            InputError: the device does not exist, or does not support the precision.
        """
        found = {
            "gpu": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "cpu": True,
        }
        chosen = self.accelerator
        if chosen == "auto":
            chosen = next(name for name, is_there in found.items() if is_there)
        if not found[chosen]:
            raise InputError(
                f"train.trainer.accelerator={chosen}: none found; allowed here: auto, cpu"
            )
        if chosen == "gpu" and self.devices > torch.cuda.device_count():
            raise InputError(
                f"train.trainer.devices={self.devices}: "
                f"allowed here: 1 to {torch.cuda.device_count()}"
            )
        if chosen == "mps" and self.is_sharded:
            raise InputError("train.trainer.strategy='fsdp': not on mps; allowed here: auto")
        if chosen != "gpu" and self.precision == "fp16":
            raise InputError(
                f"train.trainer.precision='fp16': not on {chosen}; allowed here: fp32, bf16"
            )
        if chosen == "cpu" and self.precision == "bf16":
            _log.warning(
                "train.trainer.precision=bf16 on a CPU: usually slower than fp32, and less exact"
            )
        return chosen

    @property
    def lightning_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """Lightning's name of the precision."""
        return _PRECISIONS[self.precision]

    @property
    def device(self) -> torch.device:
        """The device of this process; raises as `resolve_accelerator` does."""
        return torch.device(_DEVICES[self.resolve_accelerator()])

    def build(
        self, *, callbacks: Sequence[Callback], loggers: Sequence[Logger], run_dir: Path
    ) -> Trainer:
        """Build a Lightning trainer without an end of its own.

        :class:`asr.train.control.RunControl`, among ``callbacks``, validates and stops.
        """
        accelerator = self.resolve_accelerator()
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        if accelerator == "gpu" and self.precision != "fp32":
            torch.set_float32_matmul_precision("high")
        return Trainer(
            accelerator=accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=self._strategy(),
            precision=self.lightning_precision,
            accumulate_grad_batches=self.accumulate,
            max_epochs=-1,
            max_steps=-1,
            check_val_every_n_epoch=None,
            val_check_interval=sys.maxsize,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            callbacks=list(callbacks),
            logger=list(loggers),
            plugins=[PlainCheckpointIO()],
            default_root_dir=run_dir,
        )

    def _strategy(self) -> str | Strategy:
        if self.is_sharded:
            return ShardedStrategy(num_processes=self.num_processes)
        if self.num_processes == 1:
            return self.strategy
        # Running statistics are equal everywhere, and processes validate at their own pace.
        return DDPStrategy(broadcast_buffers=False)


def plan_steps(trainer: TrainerSpec, loader: TrainLoader, state: RunState) -> int | None:
    """Return the steps of the whole run, with those of ``state``; None if only minutes end it.

    A run of ``max_epochs`` ends with the step that takes the last batch of the last epoch. Epochs
    may differ in length, and a resumed run may have other batches, accumulation or processes.
    ``state.plan`` keeps the result; while none of these change, a resumed run follows the plan it
    began with.

    Raises:
        InputError: an epoch has fewer batches than there are processes.
    """
    check_share(trainer, loader)
    limits = [trainer.max_steps]
    if trainer.max_epochs is not None:
        limits.append(_steps_of_epochs(trainer.max_epochs, trainer, loader, state))
    return min((limit for limit in limits if limit is not None), default=None)


def check_share(trainer: TrainerSpec, loader: TrainLoader) -> None:
    """Raise InputError unless every process gets a batch of every epoch."""
    if trainer.num_processes == 1:
        return
    fewest = min(loader.num_batches(epoch, 1) for epoch in (0, 1))
    if fewest < trainer.num_processes:
        raise InputError(
            f"an epoch has {fewest} batches, fewer than the {trainer.num_processes} processes "
            "(train.trainer.devices x num_nodes) that share it: lower "
            "data.batching.max_duration_s, or train with fewer processes"
        )


def _steps_of_epochs(
    max_epochs: int, trainer: TrainerSpec, loader: TrainLoader, state: RunState
) -> int:
    settings = {
        "max_epochs": max_epochs,
        "accumulate": trainer.accumulate,
        "num_processes": trainer.num_processes,
        "batches": [loader.num_batches(epoch, 1) for epoch in (0, 1)],
    }
    if state.plan.get("settings") != settings:
        epoch, behind = 0, 0
        if state.position:
            epoch = int(state.position["epoch"])
            behind = loader.batch_at(state.position, trainer.num_processes)
        ahead = sum(
            loader.num_batches(each, trainer.num_processes) for each in range(epoch, max_epochs)
        )
        num_steps = state.num_steps + math.ceil(max(0, ahead - behind) / trainer.accumulate)
        state.plan = {"settings": settings, "num_steps": max(1, num_steps)}
    return int(state.plan["num_steps"])
