"""What a user sees of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from asr.train.limits import Limits
from asr.train.meter import Meter
from asr.train.module import AsrModule
from asr.train.state import RunState


def make_progress(state: RunState, limits: Limits, *, accumulate: int, every_s: float) -> Callback:
    """A bar if standard error is a terminal, else a line every ``every_s`` seconds."""
    if sys.stderr.isatty():
        return ProgressBar(state, limits, accumulate=accumulate)
    return ProgressLines(state, limits, every_s=every_s)


class _Reading:
    """Turns a meter into the few numbers to show; the loss is not lost between two readings."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._meter = Meter()
        self._loss: float | None = None

    def start(self, module: LightningModule) -> None:
        assert isinstance(module, AsrModule)
        self._meter = Meter()
        module.meters.append(self._meter)

    def read(self, module: LightningModule) -> dict[str, str]:
        assert isinstance(module, AsrModule)
        means = self._meter.read()
        self._loss = means.get("train_loss", self._loss)
        shown = {
            "loss": "-" if self._loss is None else f"{self._loss:.3f}",
            "lr": f"{module.lr:.1e}",
            "dev WER": "-" if self._state.last_wer is None else f"{self._state.last_wer:.1f} %",
            "data wait": f"{100 * means['data_wait_share']:.0f} %",
            "audio": f"{means['audio_s_per_s']:.0f} s/s",
        }
        if self._state.num_skipped:
            shown["left out"] = f"{self._state.num_skipped} steps"
        return shown


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with loss, rate, dev WER, time waiting for data and speed, twice a second."""

    def __init__(self, state: RunState, limits: Limits, *, accumulate: int = 1) -> None:
        super().__init__(refresh_rate=1)
        self._state = state
        self._limits = limits
        self._accumulate = accumulate
        self._reading = _Reading(state)
        self._shown_s = 0.0

    @property
    def total_train_batches(self) -> int | float:
        """Batches of the whole run, where the number of steps is known."""
        if self._limits.max_steps is None:
            return float("inf")
        return self._limits.max_steps * self._accumulate

    def init_train_tqdm(self) -> Tqdm:
        """The bar, on standard error, with a rate that follows the present."""
        return Tqdm(
            desc="training",
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stderr,
            initial=self._state.num_steps * self._accumulate,
            bar_format=self.BAR_FORMAT,
        )

    def init_validation_tqdm(self) -> Tqdm:
        """The bar of a validation, gone when it ends."""
        return Tqdm(
            desc="validation",
            position=1,
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
            bar_format=self.BAR_FORMAT,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        super().on_train_start(trainer, pl_module)
        self._reading.start(pl_module)
        self.train_progress_bar.total = None
        if self._limits.max_steps is not None:
            self.train_progress_bar.total = int(self.total_train_batches)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Nothing: Lightning's single epoch is the whole run."""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Refresh twice a second."""
        now_s = time.monotonic()
        if now_s - self._shown_s < 0.5:
            return
        self._shown_s = now_s
        bar = self.train_progress_bar
        bar.n = batch_idx + 1
        bar.set_description(f"epoch {self._state.epoch + 1}", refresh=False)
        bar.set_postfix(self._reading.read(pl_module), refresh=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show where it ended."""
        self.train_progress_bar.n = self._state.num_steps * self._accumulate
        self.train_progress_bar.refresh()


class ProgressLines(Callback):
    """One line every ``every_s`` seconds, and one for every validation."""

    def __init__(
        self,
        state: RunState,
        limits: Limits,
        *,
        every_s: float,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._state = state
        self._limits = limits
        self._every_s = every_s
        self._write = write if write is not None else _write_line
        self._reading = _Reading(state)
        self._written_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._reading.start(pl_module)
        self._written_s = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write, if it is time."""
        if time.monotonic() - self._written_s >= self._every_s:
            self._line(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the new WER."""
        self._line(trainer, pl_module)

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._written_s = time.monotonic()
        if not trainer.is_global_zero:
            return
        state, total = self._state, self._limits.max_steps
        steps = f"{state.num_steps}/{total}" if total else f"{state.num_steps}"
        shown = ", ".join(
            f"{name} {value}" for name, value in self._reading.read(pl_module).items()
        )
        self._write(f"step {steps}, epoch {state.epoch + 1}, {state.train_s:.0f} s: {shown}")


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
