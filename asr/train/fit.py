"""Training a model: :func:`fit`, the entry point of this package, its settings and result."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import Callback
from torch import nn

from asr.distributed import is_first, rank
from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import (
    BEST,
    LAST,
    Checkpoints,
    checkpoint_to_resume,
    model_part,
    read_checkpoint,
)
from asr.train.control import Interrupt, RunControl
from asr.train.distillation import Distiller
from asr.train.failures import OwnErrorFirst, explained_errors
from asr.train.finite import FiniteGuard
from asr.train.freeze import Freezing
from asr.train.logs import LogMetrics, make_callbacks, make_loggers
from asr.train.memory_check import MemoryCheck
from asr.train.module import AsrModule, FrameDecoder, TextDecoder
from asr.train.optim import AdamWSpec
from asr.train.progress import make_progress, quiet_lightning
from asr.train.state import RunClock, RunState, seed_all
from asr.train.stream import DevData, TrainLoader, TrainStream
from asr.train.trainer import TrainerSpec, plan_steps
from asr.types import Batch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The data a model is trained on, and how it is trained.

    Args:
        train_loader: training batches, epoch after epoch.
        dev_loader: validation batches; None trains without validation.
        tokenizer: turns the token ids of a hypothesis into text, in validation.
        decoder: turns log probabilities into hypotheses, in validation.
        optim: optimiser and learning rate.
        trainer: length, device and precision of the run.
        averaging: the average of the weights that is validated and kept.
        seed: of dropout and data augmentation; each process adds its rank.
        distiller: a teacher for distillation; it is not stored and not used in validation.
        freezing: the parts that are not trained; None trains everything.
        largest_batch: tried before the first step, so that a run too large for the memory fails
            at once; it changes nothing else.
    """

    train_loader: TrainLoader
    dev_loader: Iterable[Batch | None] | None
    tokenizer: TextDecoder
    decoder: FrameDecoder
    optim: AdamWSpec
    trainer: TrainerSpec
    averaging: AveragingSpec
    seed: int
    distiller: Distiller | None = None
    freezing: Freezing | None = None
    largest_batch: Batch | None = None


Weights = Literal["averaged", "best", "last"]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The result of a run, including all resumptions.

    ``train_s`` is wall time and ``cpu_s`` processor time in seconds (of all processes, without
    loader workers); ``best_wer`` is the lowest and ``last_wer`` the last dev WER in percent, None
    without validation; ``num_left_out`` counts utterances without an alignment, each time they come
    up; ``num_skipped`` counts steps left out for a loss or gradient that was not finite;
    ``num_unreadable`` counts utterances whose audio could not be read, ``num_bad_sounds`` sounds to
    be mixed into them; ``num_resumed`` counts resumptions; ``data_wait_share`` is 0 to 1.
    ``weights`` names the model's final weights: the ``averaged`` ones, those of the ``best`` dev
    WER, or the ``last``.
    """

    train_s: float
    cpu_s: float
    num_steps: int
    num_epochs: int
    audio_s: float
    best_wer: float | None
    best_step: int | None
    last_wer: float | None
    interrupted: bool
    num_left_out: int
    num_skipped: int
    num_unreadable: int
    num_bad_sounds: int
    num_resumed: int
    data_wait_share: float
    weights: Weights

    @classmethod
    def of(cls, state: RunState, weights: Weights) -> FitResult:
        """Return the result of a run that ended with ``state``."""
        return cls(
            train_s=state.train_s,
            cpu_s=state.cpu_s,
            num_steps=state.num_steps,
            num_epochs=state.num_epochs,
            audio_s=state.audio_s,
            best_wer=state.best_wer,
            best_step=state.best_step,
            last_wer=state.last_wer,
            interrupted=state.interrupted,
            num_left_out=state.num_left_out,
            num_skipped=state.num_skipped,
            num_unreadable=len(state.unreadable),
            num_bad_sounds=len(state.bad_sounds),
            num_resumed=state.num_resumed,
            data_wait_share=state.data_wait_share,
            weights=weights,
        )


def fit(model: nn.Module, settings: FitSettings, *, run_dir: Path, resume: bool) -> FitResult:
    """Train ``model`` in place; leave the final weights in it, on the CPU, in eval mode.

    With averaging, the final weights are the averaged ones, which every validation measured.
    Without, they are those of the best dev WER, or the last ones if nothing was validated.
    ``run_dir`` gets ``checkpoints/last.ckpt``, ``checkpoints/best.ckpt`` and ``logs/`` (TensorBoard
    events and ``metrics.csv``).

    With ``resume`` the run continues from ``last.ckpt`` if it exists, at the next batch; on a CPU
    its losses equal those of an uninterrupted run. A finished run is not trained further. Ctrl-C or
    SIGTERM ends the run after the current step with ``interrupted=True`` and everything saved; a
    second one aborts with KeyboardInterrupt.

    Raises:
        InputError: ``run_dir`` holds a run and ``resume`` is not set; the checkpoint is of another
            model; there is no training data; a device or a module to freeze does not exist.
        RunError: out of memory, disk full, a dead data worker, too many utterances that cannot be
            read, or too many steps whose loss or gradient is not finite. The last checkpoint is
            intact.
    """
    if settings.freezing is not None:
        settings.freezing.check(num_processes=settings.trainer.num_processes)
    run_dir = Path(run_dir)
    folder = run_dir / "checkpoints"
    checkpoint = None
    if (folder / LAST).is_file():
        is_averaged = settings.averaging.kind != "none"
        checkpoint = checkpoint_to_resume(
            folder / LAST, model, resume=resume, is_averaged=is_averaged
        )
    state = RunState() if checkpoint is None else RunState.to_resume(checkpoint["run"])
    total_steps = plan_steps(settings.trainer, settings.train_loader, state)
    if checkpoint is not None and settings.trainer.limits.are_reached(state):
        _log.warning("run %s is finished at step %d: nothing to resume", run_dir, state.num_steps)
        model.load_state_dict(model_part(checkpoint["state_dict"]))
        is_averaged = bool(checkpoint.get("averaging_state", {}).get("n_averaged", 0))
    else:
        if checkpoint is not None:
            _log.info("resuming %s at step %d", run_dir, state.num_steps)
        run = _Run(model, settings, state, total_steps, folder=folder, checkpoint=checkpoint)
        state, is_averaged = run.train(run_dir)
    return FitResult.of(state, _choose_weights(model, state, folder, is_averaged=is_averaged))


def _choose_weights(
    model: nn.Module, state: RunState, folder: Path, *, is_averaged: bool
) -> Weights:
    """Leave the final weights in ``model``, which holds the averaged or the last ones."""
    model.eval()
    if is_averaged:
        return "averaged"
    if state.best_wer is None or not (folder / BEST).is_file():
        return "last"
    model.load_state_dict(read_checkpoint(folder / BEST)["model"])
    return "best"


class _Run:
    """One training call of :func:`fit`; its parts share one ``state``.

    ``checkpoint`` is the content of the ``last.ckpt`` that training resumes from.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: FitSettings,
        state: RunState,
        total_steps: int | None,
        *,
        folder: Path,
        checkpoint: dict[str, Any] | None,
    ) -> None:
        seed_all(settings.seed + rank())  # of dropout; the weights come from the first process
        self._model = model
        self._settings = settings
        self._state = state
        self._total_steps = total_steps
        self._is_resumed = checkpoint is not None
        state.num_resumed += int(self._is_resumed)
        self._clock = RunClock(state)
        self._averaged = settings.averaging.build(total_steps)
        self._checkpoints = Checkpoints(
            folder,
            state,
            refresh=self._refresh,
            averaging=self._averaged,
            resumed_random=None if checkpoint is None else checkpoint["random"],
        )
        self._interrupt = Interrupt()
        settings.trainer.checkpoint_activations(model)
        self._module = self._make_module()

    def train(self, run_dir: Path) -> tuple[RunState, bool]:
        """Train to the end; return the final state and whether the model holds averaged weights."""
        try:
            with quiet_lightning(), explained_errors(self._state, self._module):
                lightning = self._settings.trainer.build(
                    callbacks=self._make_callbacks(),
                    loggers=make_loggers(
                        run_dir,
                        resumed_step=self._state.num_steps,
                        loggers=self._settings.trainer.loggers,
                    ),
                    run_dir=run_dir,
                )
                lightning.fit(
                    self._module,
                    train_dataloaders=self._train_stream(),
                    val_dataloaders=self._dev_data(),
                    ckpt_path=self._checkpoints.last_path if self._is_resumed else None,
                    weights_only=True,
                )
        finally:
            self._interrupt.restore()
            self._refresh()
        if self._settings.trainer.is_sharded and is_first():
            assert self._module.final_weights is not None
            self._model.load_state_dict(self._module.final_weights)
        final = replace(self._checkpoints.state_of_all or self._state, train_s=self._state.train_s)
        return final, self._averaged is not None and self._averaged.num_averaged > 0

    def _refresh(self) -> None:
        """Update the times and lists of the state."""
        state, loader = self._state, self._settings.train_loader
        self._clock.tick()
        state.unreadable = sorted({*state.unreadable, *loader.unreadable})
        state.bad_sounds = sorted({*state.bad_sounds, *loader.bad_sounds})

    def _make_module(self) -> AsrModule:
        settings, trainer = self._settings, self._settings.trainer
        return AsrModule(
            # A sharded model is a copy: its shards are not joined again.
            deepcopy(self._model) if trainer.is_sharded else self._model,
            tokenizer=settings.tokenizer,
            decoder=settings.decoder,
            optim=settings.optim,
            state=self._state,
            total_steps=self._total_steps,
            gradient_clip=trainer.gradient_clip,
            distiller=settings.distiller,
            freezing=settings.freezing,
            make_guard=partial(
                FiniteGuard,
                max_in_row=trainer.max_bad_steps_in_row,
                max_bad=trainer.max_bad_steps,
            ),
        )

    def _make_callbacks(self) -> list[Callback]:
        """Make Lightning's callbacks, in the order in which their hooks run."""
        settings, trainer, state = self._settings, self._settings.trainer, self._state
        control = RunControl(
            state,
            limits=trainer.limits,
            clock=self._clock,
            checkpoints=self._checkpoints,
            interrupt=self._interrupt,
            train_loader=settings.train_loader,
            dev_loader=settings.dev_loader,
        )
        progress = make_progress(
            state,
            trainer.limits,
            total_steps=self._total_steps,
            accumulate=trainer.accumulate,
            every_s=trainer.print_every_s,
        )
        callbacks: list[Callback] = [OwnErrorFirst()]
        if self._averaged is not None:
            callbacks.append(self._averaged)
        callbacks += [
            control,
            LogMetrics(state, every_steps=trainer.log_every_steps),
            progress,
            self._checkpoints,
        ]
        callbacks += make_callbacks(trainer.callbacks)
        if settings.largest_batch is not None:
            callbacks.append(MemoryCheck(settings.largest_batch))
        return callbacks

    def _train_stream(self) -> TrainStream:
        return TrainStream(
            self._settings.train_loader,
            sample_rate_hz=_sample_rate_hz(self._model),
            position=self._state.position if self._is_resumed else None,
        )

    def _dev_data(self) -> DevData | None:
        if self._settings.dev_loader is None:
            return None
        return DevData(
            self._settings.dev_loader,
            sample_rate_hz=_sample_rate_hz(self._model),
            in_step=self._settings.trainer.is_sharded,
        )


def _sample_rate_hz(model: nn.Module) -> int:
    frontend = getattr(model, "frontend", None)
    return int(getattr(frontend, "sample_rate_hz", 16_000))
