"""Logs of a run: CSV, TensorBoard, online services, and a user's own loggers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from asr.errors import InputError
from asr.model.build import TARGET, build, check_kind
from asr.ranges import shown
from asr.train.module import AsrModule
from asr.train.state import RunningMeans, RunState

COLUMNS = (
    "step",
    "epoch",
    "train_loss",
    "loss_per_token",
    "lr",
    "grad_norm",
    "dev_wer",
    "dev_loss",
    "dev_loss_per_token",
    "data_wait_share",
    "audio_s_per_s",
    "train_s",
)


class CsvLog(Logger):
    """``metrics.csv``: a row for every logged set of metrics, columns :data:`COLUMNS`.

    A run resumed at ``resumed_step`` keeps the rows up to that step and drops later ones.
    """

    def __init__(self, folder: Path, *, resumed_step: int = 0) -> None:
        super().__init__()
        self._path = folder / "metrics.csv"
        self._resumed_step = resumed_step
        self._is_open = False

    @property
    def name(self) -> str:
        """Lightning's name for this logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: not needed."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row with full float precision."""
        if not self._is_open:
            self._open()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow({"step": step, **metrics})

    def _open(self) -> None:
        self._is_open = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if self._resumed_step and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                kept = [
                    row for row in csv.DictReader(file) if int(row["step"]) <= self._resumed_step
                ]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)


class TensorBoardLog(TensorBoardLogger):
    """Lightning's TensorBoard logger without its file of hyperparameters."""

    def save(self) -> None:
        """Do nothing: only events are written, and they are flushed at once."""


LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
_LOGGERS_KEY = "train.trainer.loggers"


def check_loggers(loggers: Sequence[object]) -> None:
    """Raise InputError unless each is one of `LOGGERS` or the config of a plugin's class."""
    for one in loggers:
        if one not in LOGGERS and not (isinstance(one, Mapping) and TARGET in one):
            raise InputError(
                f"{_LOGGERS_KEY}: {shown(one)}; allowed: {', '.join(LOGGERS)}, or {TARGET} of a "
                "plugin"
            )
        if one in ("wandb", "mlflow") and find_spec(str(one)) is None:
            raise InputError(f"{_LOGGERS_KEY}: {one} is not installed (pip install {one})")


def make_loggers(
    run_dir: Path,
    *,
    resumed_step: int = 0,
    loggers: Sequence[Any] = ("csv", "tensorboard"),
) -> list[Logger]:
    """Make the CSV logger in ``run_dir/logs``, which the record needs, and those in ``loggers``.

    Online services name the run after its folder.

    Raises:
        InputError: see `check_loggers`; or a class is not a Lightning logger.
    """
    check_loggers(loggers)
    made: list[Logger] = [CsvLog(run_dir / "logs", resumed_step=resumed_step)]
    for index, one in enumerate(loggers):
        if isinstance(one, Mapping):
            key = f"{_LOGGERS_KEY}[{index}]"
            made.append(build(one, key))
            check_kind(made[-1], Logger, one, key)
        elif one == "tensorboard":
            purge_step = resumed_step + 1 if resumed_step else None
            made.append(TensorBoardLog(run_dir, name="logs", version="", purge_step=purge_step))
        elif one == "wandb":
            made.append(WandbLogger(name=run_dir.name, save_dir=run_dir))
        elif one == "mlflow":
            made.append(MLFlowLogger(run_name=run_dir.name, save_dir=str(run_dir / "mlruns")))
    return made


def make_callbacks(callbacks: Sequence[Any]) -> list[Callback]:
    """Make Lightning's callbacks from plugins.

    Raises:
        InputError: a class is not a callback, or is not from a plugin.
    """
    made: list[Callback] = []
    for index, one in enumerate(callbacks):
        key = f"train.trainer.callbacks[{index}]"
        made.append(build(one, key))
        check_kind(made[-1], Callback, one, key)
    return made


class LogMetrics(Callback):
    """A callback that logs means over ``every_steps`` steps, and every validation."""

    def __init__(self, state: RunState, *, every_steps: int) -> None:
        self._state = state
        self._every_steps = every_steps
        self._means = RunningMeans()
        self._logged_step = state.num_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        assert isinstance(pl_module, AsrModule)
        self._means = RunningMeans()
        pl_module.running_means.append(self._means)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log after every ``every_steps`` optimiser steps."""
        step = self._state.num_steps
        if step == self._logged_step or step % self._every_steps:
            return
        self._logged_step = step
        assert isinstance(pl_module, AsrModule)
        assert pl_module.grad_norm is not None
        metrics = self._means.read()
        if trainer.world_size > 1:
            own = [metrics["train_loss"], 1.0] if "train_loss" in metrics else [0.0, 0.0]
            sums = torch.tensor(own, device=pl_module.device)
            loss_sum, num_losses = trainer.strategy.reduce(sums, reduce_op="sum").tolist()
            if num_losses:
                metrics["train_loss"] = loss_sum / num_losses
        metrics |= {"lr": pl_module.lr, "grad_norm": float(pl_module.grad_norm)}
        self._log(trainer, metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the result of a validation."""
        assert isinstance(pl_module, AsrModule)
        self._log(trainer, pl_module.dev_metrics)

    def _log(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        state = self._state
        row = {**metrics, "epoch": float(state.num_epochs), "train_s": round(state.train_s, 3)}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=state.num_steps)
