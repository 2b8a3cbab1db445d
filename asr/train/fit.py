"""Train a model: the one entry of this package."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from asr.distributed import is_first, rank
from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import Checkpoints, read_checkpoint
from asr.train.control import Interrupt, RunControl
from asr.train.distillation import Distiller
from asr.train.failures import LastWords, explain
from asr.train.finite import FiniteGuard
from asr.train.logs import LogMetrics, make_loggers
from asr.train.module import AsrModule, FrameDecoder, TextDecoder
from asr.train.optim import AdamWSpec
from asr.train.plan import plan_steps
from asr.train.progress import make_progress, quiet_lightning
from asr.train.rehearsal import Rehearsal
from asr.train.state import RunClock, RunState, seed_all
from asr.train.stream import DevData, TrainLoader, TrainStream
from asr.train.trainer import TrainerSpec
from asr.types import Batch, InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run came to, all its resumptions together.

    ``train_s`` wall and ``cpu_s`` processor seconds (of all processes, not of loader workers);
    ``best_wer`` the lowest and ``last_wer`` the last dev WER in percent, None without validation;
    ``num_left_out`` utterances without an alignment, counted every time they came up;
    ``num_skipped`` steps left out for a loss or gradient that was not finite; ``num_unreadable``
    utterances whose audio could not be read, ``num_bad_sounds`` sounds to be mixed into them;
    ``num_resumed`` resumptions; ``data_wait_share`` 0 to 1. ``weights`` says what the model holds
    now: the ``averaged`` weights, those of the ``best`` dev WER, or the ``last`` ones.
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
    weights: Literal["averaged", "best", "last"]


def fit(
    model: nn.Module,
    *,
    tokenizer: TextDecoder,
    train_loader: TrainLoader,
    dev_loader: Iterable[Batch | None] | None,
    optim: AdamWSpec,
    trainer: TrainerSpec,
    averaging: AveragingSpec,
    run_dir: Path,
    resume: bool,
    seed: int,
    decoder: FrameDecoder,
    distiller: Distiller | None = None,
    largest_batch: Batch | None = None,
) -> FitResult:
    """Train ``model`` in place and leave its final weights in it, on the CPU and in eval mode.

    The final weights are the averaged ones where averaging is on, for then they are what every
    validation measured; without averaging those of the best dev WER, and the last ones where
    nothing was validated. ``run_dir`` receives ``checkpoints/last.ckpt``, ``checkpoints/best.ckpt``
    and ``logs/`` (TensorBoard events and ``metrics.csv``). With a ``distiller`` the model learns
    from its teacher too, of which nothing is stored; validation is as without. ``largest_batch`` is
    tried before the first step, so that memory fails early; it changes nothing else.

    With ``resume`` the run goes on from ``last.ckpt`` if there is one, at the batch behind it; on a
    CPU its losses equal those of a run that was never interrupted. A finished run is not trained
    further. Ctrl-C or SIGTERM ends the run after the step under way with ``interrupted=True`` and
    everything saved; a second one aborts with KeyboardInterrupt.

    Raises:
        InputError: a run in ``run_dir`` and ``resume`` not set; a checkpoint of another model; no
            training data; a device that is not there.
        RunError: out of memory, disk full, a dead data worker, too many utterances that cannot be
            read or steps whose loss or gradient is not finite. The last checkpoint is intact.
    """
    run_dir = Path(run_dir)
    folder = run_dir / "checkpoints"
    checkpoint = _checkpoint_to_resume(folder / "last.ckpt", model, resume=resume)
    state = RunState() if checkpoint is None else RunState.to_resume(checkpoint["run"])
    total_steps = plan_steps(trainer, train_loader, state)
    if checkpoint is not None and ("averaging_state" in checkpoint) != (averaging.kind != "none"):
        raise InputError(
            f"train.averaging.kind={averaging.kind!r}: {folder / 'last.ckpt'} was written "
            f"{'with' if 'averaging_state' in checkpoint else 'without'} averaging; keep it so"
        )
    if checkpoint is not None and trainer.limits.are_reached(state):
        _log.warning("run %s is finished at step %d: nothing to resume", run_dir, state.num_steps)
        model.load_state_dict(_model_part(checkpoint["state_dict"]))
        is_averaged = bool(checkpoint.get("averaging_state", {}).get("n_averaged", 0))
        return _result(model, state, folder / "best.ckpt", is_averaged=is_averaged)

    seed_all(seed + rank())  # of dropout; the weights are those of the first process
    if checkpoint is not None:
        state.num_resumed += 1
    clock = RunClock(state)

    def refresh() -> None:
        clock.tick()
        state.unreadable = sorted({*state.unreadable, *train_loader.unreadable})
        state.bad_sounds = sorted({*state.bad_sounds, *train_loader.bad_sounds})

    trainer.checkpoint_activations(model)
    averaged = averaging.build(total_steps)
    checkpoints = Checkpoints(
        folder,
        state,
        refresh=refresh,
        averaging=averaged,
        resumed_random=None if checkpoint is None else checkpoint["random"],
    )
    interrupt = Interrupt()
    control = RunControl(
        state,
        limits=trainer.limits,
        clock=clock,
        checkpoints=checkpoints,
        interrupt=interrupt,
        train_loader=train_loader,
        dev_loader=dev_loader,
    )
    callbacks: list[Callback] = [
        LastWords(),
        *([averaged] if averaged is not None else []),
        control,
        LogMetrics(state, every_steps=trainer.log_every_steps),
        make_progress(
            state,
            trainer.limits,
            total_steps=total_steps,
            accumulate=trainer.accumulate,
            every_s=trainer.print_every_s,
        ),
        checkpoints,
        *([Rehearsal(largest_batch)] if largest_batch is not None else []),
    ]
    module = AsrModule(
        deepcopy(model) if trainer.is_sharded else model,  # what is cut is not put together again
        tokenizer=tokenizer,
        decoder=decoder,
        optim=optim,
        state=state,
        total_steps=total_steps,
        gradient_clip=trainer.gradient_clip,
        distiller=distiller,
        make_guard=partial(
            FiniteGuard,
            max_in_row=trainer.max_bad_steps_in_row,
            max_bad=trainer.max_bad_steps,
        ),
    )
    stream = TrainStream(
        train_loader,
        sample_rate_hz=_sample_rate_hz(model),
        position=state.position if checkpoint is not None else None,
    )
    dev_data = None
    if dev_loader is not None:
        dev_data = DevData(
            dev_loader, sample_rate_hz=_sample_rate_hz(model), in_step=trainer.is_sharded
        )
    if checkpoint is not None:
        _log.info("resuming %s at step %d", run_dir, state.num_steps)
    try:
        with quiet_lightning():
            lightning = trainer.build(
                callbacks=callbacks,
                loggers=make_loggers(run_dir, resumed_step=state.num_steps),
                run_dir=run_dir,
            )
            lightning.fit(
                module,
                train_dataloaders=stream,
                val_dataloaders=dev_data,
                ckpt_path=None if checkpoint is None else checkpoints.last_path,
                weights_only=True,
            )
    except SystemExit as error:  # Lightning's answer to an aborting Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except (RuntimeError, MemoryError, OSError, EOFError) as error:
        explained = explain(error, step=state.num_steps, batch=module.batch)
        if explained is None:
            raise
        raise explained from error
    finally:
        interrupt.restore()
        refresh()
    if trainer.is_sharded and is_first():
        assert module.final_weights is not None
        model.load_state_dict(module.final_weights)
    is_averaged = averaged is not None and averaged.num_averaged > 0
    final = replace(checkpoints.state_of_all or state, train_s=state.train_s)
    return _result(model, final, checkpoints.best_path, is_averaged=is_averaged)


def _result(model: nn.Module, state: RunState, best_path: Path, *, is_averaged: bool) -> FitResult:
    weights: Literal["averaged", "best", "last"] = "averaged" if is_averaged else "last"
    if not is_averaged and state.best_wer is not None and best_path.is_file():
        model.load_state_dict(read_checkpoint(best_path)["model"])
        weights = "best"
    model.eval()
    return FitResult(
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


def _checkpoint_to_resume(path: Path, model: nn.Module, *, resume: bool) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    if not resume:
        raise InputError(f"{path}: a run is there already; resume it, or choose another run folder")
    checkpoint = read_checkpoint(path)
    if not {"run", "random", "state_dict"} <= checkpoint.keys():
        raise InputError(f"{path}: not a checkpoint of a training run")
    stored, own = _model_part(checkpoint["state_dict"]), model.state_dict()
    for name in sorted(stored.keys() ^ own.keys()):
        side = "not in the model" if name in stored else "missing"
        raise InputError(f"{path}: of another model: {name} is {side}")
    for name, tensor in own.items():
        if stored[name].shape != tensor.shape:
            raise InputError(
                f"{path}: of another model: {name} is {tuple(stored[name].shape)}, "
                f"should be {tuple(tensor.shape)}"
            )
    return checkpoint


def _model_part(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "model."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }


def _sample_rate_hz(model: nn.Module) -> int:
    frontend = getattr(model, "frontend", None)
    return int(getattr(frontend, "sample_rate_hz", 16_000))
