"""Control of a run: when it validates, saves and ends, and its reaction to Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from asr.train.checkpoint import Checkpoints
from asr.train.state import RunClock, RunState
from asr.train.stream import StreamItem, TrainLoader, check_unreadable


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The end of a run, whichever comes first, and the intervals of validation and saving.

    None means no limit, or never.
    """

    max_steps: int | None = None
    max_epochs: int | None = None
    max_minutes: float | None = None
    validate_every_steps: int | None = None
    validate_every_epochs: int | None = None
    save_every_steps: int | None = None
    save_every_minutes: float | None = None

    def are_reached(self, state: RunState) -> bool:
        """Return whether a run in ``state`` is finished."""
        return self.are_passed(state) or self.is_time_over(state)

    def are_passed(self, state: RunState) -> bool:
        """Return whether the steps or epochs are done; the same on every device."""
        return (self.max_steps is not None and state.num_steps >= self.max_steps) or (
            self.max_epochs is not None and state.num_epochs >= self.max_epochs
        )

    def is_time_over(self, state: RunState) -> bool:
        """Return whether the minutes have passed, by this process's clock."""
        return self.max_minutes is not None and state.train_s >= 60 * self.max_minutes


_NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Handler of SIGINT, SIGTERM and SIGHUP between :meth:`install` and :meth:`restore`.

    Signals that were ignored, such as SIGHUP under `nohup`, stay ignored. The first signal sets
    ``requested``; the second goes to the previous handlers, which normally abort. Outside the main
    thread nothing is caught.
    """

    def __init__(self) -> None:
        self.requested = False
        before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in _NAMES}
        self._before: dict[int, Any] = {
            number: handler for number, handler in before.items() if handler is not signal.SIG_IGN
        }

    def install(self) -> None:
        """Start catching."""
        if _is_main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Restore the handlers from when this object was made."""
        if _is_main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if not self.requested:
            self.requested = True
            print(f"\n{name}: stopping after this step (again: abort)", file=sys.stderr, flush=True)
            return
        self.restore()
        signal.raise_signal(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


# Devices ask each other whether one has to stop only every few steps.
_ASK_EVERY_STEPS = 10
_NEVER = sys.maxsize


class RunControl(Callback):
    """A callback that updates ``state`` and decides after every optimiser step what comes next.

    Validation runs every ``limits.validate_every_steps`` steps or ``validate_every_epochs`` epochs
    and once at the end; an interrupted run ends without one. A checkpoint is saved with every
    validation, after every ``limits.save_every_steps`` steps, when ``save_every_minutes`` have
    passed since the last one, and at the end.
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
        """Catch signals from now on; Lightning has just set its own handlers."""
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
        """Count the batch; after the last batch of a step, decide."""
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
            return  # validation saves too
        if trainer.should_stop or self._is_save_due(trainer):
            self._checkpoints.save(trainer)
            self._saved_s = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that these epochs are validated; the checkpoint was written with it."""
        if trainer.world_size > 1:
            check_unreadable(self._dev_loader)
        self._num_epochs_validated = self._state.num_epochs
        self._saved_s = time.monotonic()

    def _check_unreadable(self, trainer: Trainer) -> None:
        """Check, if several processes train, that together they still read enough."""
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
        """Return whether ``is_here`` holds on any device; all must end at the same step."""
        if trainer.world_size == 1:
            return is_here
        if self._state.num_steps % _ASK_EVERY_STEPS:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(is_here, all=False))
