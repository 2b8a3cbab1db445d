"""Progress of training on the screen: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from asr.train.control import Limits
from asr.train.module import AsrModule
from asr.train.state import RunningMeans, RunState

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide tips, device tables and warnings about loaders; errors still show."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*`isinstance\(treespec, LeafSpec\)`.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_PLATEAU = (
    "every hypothesis is empty: CTC writes blanks only at first, usually for some hundred steps. "
    "If this goes on, look at the loss per token: where it falls, train longer "
    "(train.trainer.max_steps); where it stands still, take smaller tokens "
    "(text.tokenizer.vocab_size), short utterances first (data.batching.sort_first_epoch=true), "
    "more steps an epoch (data.batching.max_duration_s) or another train.optim.peak_lr, and check "
    "that transcripts belong to their audio"
)
_STILL_EMPTY = "every hypothesis is still empty; what to do is said at the first validation"
_MAX_EXAMPLE = 200  # characters


def make_progress(
    state: RunState, limits: Limits, *, total_steps: int | None, accumulate: int, every_s: float
) -> Callback:
    """Make a bar if standard error is a terminal, else lines every ``every_s`` seconds.

    ``total_steps`` is the length of the whole run, None if only minutes limit it.
    """
    if sys.stderr.isatty():
        return ProgressBar(state, limits, total_steps=total_steps, accumulate=accumulate)
    return ProgressLines(state, limits, total_steps=total_steps, every_s=every_s)


class _Status:
    """The numbers to show, from running means; a loss is shown until the next one is known."""

    def __init__(self, state: RunState, limits: Limits, total_steps: int | None) -> None:
        self._state = state
        self._limits = limits
        self.total_steps = total_steps
        self._means = RunningMeans()
        self._loss: float | None = None
        self._loss_per_token: float | None = None
        self._rates: dict[str, str] = {}
        self._is_explained = False
        self._begun_steps, self._begun_s = state.num_steps, state.train_s

    def start(self, module: LightningModule) -> None:
        assert isinstance(module, AsrModule)
        self._means = RunningMeans()
        module.running_means.append(self._means)
        self._begun_steps, self._begun_s = self._state.num_steps, self._state.train_s

    def read(self, module: LightningModule) -> dict[str, str]:
        assert isinstance(module, AsrModule)
        means = self._means.read()
        self._loss = means.get("train_loss", self._loss)
        self._loss_per_token = means.get("loss_per_token", self._loss_per_token)
        shown = {
            "loss": "-" if self._loss is None else f"{self._loss:.3f}",
            "per token": "-" if self._loss_per_token is None else f"{self._loss_per_token:.3f}",
            "lr": f"{module.lr:.1e}",
            "dev WER": "-" if self._state.last_wer is None else f"{self._state.last_wer:.1f} %",
        }
        if means["audio_s_per_s"] or not self._rates:  # else nothing new since the last read
            self._rates = {
                "data wait": f"{100 * means['data_wait_share']:.0f} %",
                "audio": f"{means['audio_s_per_s']:.0f} s/s",
            }
        shown |= self._rates
        left_s = self.left_s()
        if left_s is not None:
            shown["left"] = _time_text(left_s)
        if self._state.num_skipped:
            shown["left out"] = f"{self._state.num_skipped} steps"
        return shown

    def left_s(self) -> float | None:
        """Return the seconds left at the pace since the start, with validations; or None."""
        state, ends_s = self._state, []
        num_steps, since_s = state.num_steps - self._begun_steps, state.train_s - self._begun_s
        if self.total_steps is not None and num_steps > 0:
            ends_s.append(max(0, self.total_steps - state.num_steps) * since_s / num_steps)
        if self._limits.max_minutes is not None:
            ends_s.append(max(0.0, 60 * self._limits.max_minutes - state.train_s))
        return min(ends_s, default=None)

    def line(self, module: LightningModule) -> str:
        """Return the progress line."""
        state, total = self._state, self.total_steps
        steps = f"{state.num_steps}/{total}" if total else f"{state.num_steps}"
        shown = ", ".join(f"{name} {value}" for name, value in self.read(module).items())
        return f"step {steps}, epoch {state.epoch + 1}, {state.train_s:.0f} s: {shown}"

    def validation_lines(self, module: LightningModule) -> list[str]:
        """Return the progress line, the first few references with hypotheses, and a hint."""
        assert isinstance(module, AsrModule)
        lines = [self.line(module)]
        for reference, hypothesis in module.examples:
            lines += [f"  ref: {_cut(reference)}", f"  hyp: {_cut(hypothesis) or '(empty)'}"]
        if module.all_empty:
            lines.append(f"  {_PLATEAU}" if not self._is_explained else f"  {_STILL_EMPTY}")
            self._is_explained = True
        return lines


def _cut(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _MAX_EXAMPLE else f"{shown[: _MAX_EXAMPLE - 1]}…"


def _time_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with loss, rate, dev WER, data waiting time and speed, twice a second."""

    def __init__(
        self, state: RunState, limits: Limits, *, total_steps: int | None, accumulate: int = 1
    ) -> None:
        super().__init__(refresh_rate=1)
        self._state = state
        self._accumulate = accumulate
        self._status = _Status(state, limits, total_steps)
        self._shown_s = 0.0

    @property
    def total_train_batches(self) -> int | float:
        """Batches of the whole run, infinite if unknown."""
        if self._status.total_steps is None:
            return float("inf")
        return self._status.total_steps * self._accumulate

    def init_train_tqdm(self) -> Tqdm:
        """Make the training bar on standard error, with the current rate."""
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
        """Make the bar of a validation, which disappears at its end."""
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
        self._status.start(pl_module)
        self.train_progress_bar.total = None
        if self._status.total_steps is not None:
            self.train_progress_bar.total = int(self.total_train_batches)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Do nothing: Lightning's single epoch is the whole run."""

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
        bar.set_postfix(self._status.read(pl_module), refresh=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first few hypotheses above the bar."""
        super().on_validation_end(trainer, pl_module)
        if trainer.is_global_zero:
            for line in self._status.validation_lines(pl_module):
                self.train_progress_bar.write(line, file=sys.stderr)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the final step."""
        self.train_progress_bar.n = self._state.num_steps * self._accumulate
        self.train_progress_bar.refresh()


class ProgressLines(Callback):
    """A callback that writes a line every ``every_s`` seconds, and one for every validation."""

    def __init__(
        self,
        state: RunState,
        limits: Limits,
        *,
        total_steps: int | None,
        every_s: float,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._every_s = every_s
        self._write = write if write is not None else _write_line
        self._status = _Status(state, limits, total_steps)
        self._written_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._status.start(pl_module)
        self._written_s = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write if a line is due."""
        if time.monotonic() - self._written_s >= self._every_s:
            self._put(trainer, [self._status.line(pl_module)])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the new WER and the first few hypotheses."""
        self._put(trainer, self._status.validation_lines(pl_module))

    def _put(self, trainer: Trainer, lines: Sequence[str]) -> None:
        self._written_s = time.monotonic()
        if trainer.is_global_zero:
            for line in lines:
                self._write(line)


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
