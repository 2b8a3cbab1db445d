"""Checkpoints of a run: ``last.ckpt`` to go on from, and ``best.ckpt`` of the lowest dev WER.

Both hold plain dicts and tensors only, so that loading them runs no code.

- ``last.ckpt`` is Lightning's (``state_dict`` of the averaged weights where averaging is on, with
  ``current_model_state`` beside it, ``optimizer_states``, ``lr_schedulers``, ``loops``) and, under
  ``run``, :class:`asr.train.state.RunState` and, under ``random``, the random states
  of every process. Sharded or not, it is what one process would write.
- ``best.ckpt`` is ``{"model": state_dict of the model, "step", "dev_wer"}``, the weights as
  validated.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from asr.distributed import gather_from_all, rank
from asr.errors import InputError
from asr.files import clear_partials, replacing
from asr.train.averaging import AveragedWeights
from asr.train.module import AsrModule
from asr.train.sharding import gathered
from asr.train.state import RunState, random_state, set_random_state

LAST, BEST = "last.ckpt", "best.ckpt"
"""The names of both checkpoints in the folder ``checkpoints`` of a run."""


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write ``path`` completely or not at all; raises as :func:`asr.files.replacing` does."""
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(checkpoint, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dict in ``path``, on the CPU.

    Raises:
        InputError: no checkpoint, or a damaged one.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a checkpoint of this toolkit, or damaged ({error})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise InputError(f"{path}: not a checkpoint of this toolkit")
    return checkpoint


def checkpoint_to_resume(
    path: Path, model: nn.Module, *, resume: bool, is_averaged: bool
) -> dict[str, Any]:
    """The content of the ``last.ckpt`` at ``path``, from which training of ``model`` goes on.

    ``is_averaged`` says whether this training averages its weights.

    Raises:
        InputError: ``resume`` is not set; no checkpoint of a run, or of another model, or written
            with averaging where this training has none, or the other way round.
    """
    if not resume:
        raise InputError(f"{path}: a run is there already; resume it, or choose another run folder")
    checkpoint = read_checkpoint(path)
    if not {"run", "random", "state_dict"} <= checkpoint.keys():
        raise InputError(f"{path}: not a checkpoint of a training run")
    stored, own = model_part(checkpoint["state_dict"]), model.state_dict()
    for name in sorted(stored.keys() ^ own.keys()):
        side = "not in the model" if name in stored else "missing"
        raise InputError(f"{path}: of another model: {name} is {side}")
    for name, tensor in own.items():
        if stored[name].shape != tensor.shape:
            raise InputError(
                f"{path}: of another model: {name} is {tuple(stored[name].shape)}, "
                f"should be {tuple(tensor.shape)}"
            )
    if ("averaging_state" in checkpoint) != is_averaged:
        raise InputError(
            f"train.averaging.kind: {path} was written "
            f"{'without' if is_averaged else 'with'} averaging; keep it so"
        )
    return checkpoint


def model_part(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the model in the ``state_dict`` of a ``last.ckpt``, by their own names."""
    prefix = "model."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }


class PlainCheckpointIO(CheckpointIO):
    """Lightning's door to :func:`write_checkpoint` and :func:`read_checkpoint`."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write atomically."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read plain values and tensors."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete, if it is there."""
        Path(path).unlink(missing_ok=True)


class Checkpoints(Callback):
    """Writes ``last.ckpt`` and ``best.ckpt`` in ``folder``.

    Saves after every validation, and whenever :meth:`save` is called; ``refresh`` brings ``state``
    up to date before. ``best.ckpt`` is written from the weights that were validated, where
    ``state.last_wer`` falls below ``state.best_wer``. The random states in ``resumed_random``, one
    for each process that wrote the checkpoint, are restored once the first batches are loaded.
    """

    def __init__(
        self,
        folder: Path,
        state: RunState,
        *,
        refresh: Callable[[], None],
        averaging: AveragedWeights | None = None,
        resumed_random: list[dict[str, Any]] | None = None,
    ) -> None:
        self._folder = folder
        self._state = state
        self._refresh = refresh
        self._averaging = averaging
        self._resumed_random = resumed_random
        self.state_of_all: RunState | None = None  # as it was last saved

    @property
    def last_path(self) -> Path:
        """Path of ``last.ckpt``."""
        return self._folder / LAST

    @property
    def best_path(self) -> Path:
        """Path of ``best.ckpt``."""
        return self._folder / BEST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the random states of the checkpoint."""
        if trainer.is_global_zero:
            clear_partials(self._folder)
        if self._resumed_random is not None and rank() < len(self._resumed_random):
            set_random_state(self._resumed_random[rank()])

    def save(self, trainer: Trainer) -> None:
        """Write ``last.ckpt``."""
        self._refresh()
        trainer.save_checkpoint(self.last_path)

    def _save_best(self, trainer: Trainer, model: nn.Module) -> None:
        state = self._state
        wer = state.last_wer
        if wer is None or (state.best_wer is not None and wer >= state.best_wer):
            return
        state.best_wer, state.best_step = wer, state.num_steps
        weights = self._averaging.weights if self._averaging is not None else None
        if weights is None:
            weights = gathered(model.state_dict())
        if trainer.is_global_zero:
            best = {
                "model": weights,
                "step": state.num_steps,
                "dev_wer": wer,
            }
            write_checkpoint(best, self.best_path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save both; the module has its current weights back by now."""
        assert isinstance(pl_module.model, nn.Module)
        self._save_best(trainer, pl_module.model)
        self.save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state of the run and the random states."""
        assert isinstance(pl_module, AsrModule)
        pl_module.count_bad_steps()
        self.state_of_all = self._state.of_all()
        checkpoint["run"] = self.state_of_all.to_dict()
        checkpoint["random"] = gather_from_all(random_state())
