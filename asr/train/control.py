"""When a run validates, saves and ends."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from asr.train.checkpoint import Checkpoints
from asr.train.interrupt import Interrupt
from asr.train.limits import Limits
from asr.train.state import RunClock, RunState
from asr.train.stream import StreamItem, TrainLoader, check_unreadable

# Devices ask each other whether one has to stop only every so many steps.
_ASK_EVERY_STEPS = 10
_NEVER = sys.maxsize


class RunControl(Callback):
    """Keeps ``state`` up to date and decides after every optimiser step what comes next.

    Validation comes every ``limits.validate_every_steps`` steps or ``validate_every_epochs`` epochs
    and once at the end; an interrupted run ends without one, but saves. So does a run behind every
    ``limits.save_every_steps`` steps and when ``save_every_minutes`` have passed since it saved.
    """

    def __init__(
        self,
        state: RunState,
        *,
        limits: Limits,
        clock: RunClock,
        checkpoints: Checkpoints,
        interrupt: Interrupt,
        train_loader: TrainLoader,
        dev_loader: object,
    ) -> None:
        self._state = state
        self._limits = limits
        self._clock = clock
        self._checkpoints = checkpoints
        self._interrupt = interrupt
        self._train_loader = train_loader
        self._dev_loader = dev_loader
        self._num_unreadable = 0
        self._num_epochs_validated = state.num_epochs
        self._saved_s = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Catch signals from here on: Lightning set its own handlers just before."""
        trainer.val_check_batch = _NEVER
        self._saved_s = time.monotonic()
        self._interrupt.install()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: StreamItem,
        batch_idx: int,
    ) -> None:
        """Count the batch; behind the last batch of a step, decide."""
        state = self._state
        state.wait_s += batch.wait_s
        state.audio_s += batch.audio_s
        state.epoch = batch.epoch
        if trainer.global_step == state.num_steps:  # in the middle of an accumulation
            trainer.val_check_batch = _NEVER
            return
        state.num_steps = trainer.global_step
        state.position = batch.position
        state.num_epochs = batch.epoch + int(batch.ends_epoch)
        self._clock.tick()
        self._check_unreadable(trainer)
        if self._on_any_device(trainer, self._interrupt.requested):
            state.interrupted = True
            trainer.limit_val_batches = 0
            trainer.should_stop = True
        elif self._limits.are_passed(state) or self._on_any_device(
            trainer, self._limits.is_time_over(state)
        ):
            trainer.should_stop = True
        # Lightning reads this right after the hook; `should_stop` alone asks for validation too.
        is_due = self._is_validation_due()
        trainer.val_check_batch = 1 if is_due else _NEVER
        if trainer.enable_validation and (is_due or trainer.should_stop):
            return  # it saves too
        if trainer.should_stop or self._is_save_due(trainer):
            self._checkpoints.save(trainer)
            self._saved_s = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """No second validation for the same epochs; the checkpoint was written with it."""
        if trainer.world_size > 1:
            check_unreadable(self._dev_loader)
        self._num_epochs_validated = self._state.num_epochs
        self._saved_s = time.monotonic()

    def _check_unreadable(self, trainer: Trainer) -> None:
        """Where several processes train: whether all together still read enough."""
        num_unreadable = len(self._train_loader.unreadable)
        if trainer.world_size > 1 and self._on_any_device(
            trainer, num_unreadable > self._num_unreadable
        ):
            self._num_unreadable = num_unreadable
            check_unreadable(self._train_loader)

    def _is_validation_due(self) -> bool:
        state, limits = self._state, self._limits
        if limits.validate_every_steps and state.num_steps % limits.validate_every_steps == 0:
            return True
        passed = state.num_epochs // (limits.validate_every_epochs or _NEVER)
        return passed > self._num_epochs_validated // (limits.validate_every_epochs or _NEVER)

    def _is_save_due(self, trainer: Trainer) -> bool:
        limits = self._limits
        if limits.save_every_steps and self._state.num_steps % limits.save_every_steps == 0:
            return True
        if limits.save_every_minutes is None:
            return False
        since_s = time.monotonic() - self._saved_s
        return self._on_any_device(trainer, since_s >= 60 * limits.save_every_minutes)

    def _on_any_device(self, trainer: Trainer, is_here: bool) -> bool:
        """Whether it is so on one of the devices; all must end at the same step."""
        if trainer.world_size == 1:
            return is_here
        if self._state.num_steps % _ASK_EVERY_STEPS:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(is_here, all=False))
