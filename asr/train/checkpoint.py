"""Checkpoints of a run: ``last.ckpt`` to resume from, and ``best.ckpt`` of the lowest dev WER.

Both hold plain dicts and tensors only, so that loading them runs no code.

- ``last.ckpt`` is Lightning's checkpoint (``state_dict``, ``optimizer_states``,
  ``lr_schedulers``, ``loops``) with :class:`asr.train.state.RunState` under ``run`` and the
  random states of every process under ``random``. With averaging, ``state_dict`` holds the
  averaged weights and ``current_model_state`` the others. A sharded run writes the same as one
  process would.
- ``best.ckpt`` is ``{"model": state_dict of the model, "step", "dev_wer"}``, with the weights
  that were validated.
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
"""File names of both checkpoints in a run's folder ``checkpoints``."""


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write ``path`` completely or not at all; raise as :func:`asr.files.replacing` does."""
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(checkpoint, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the dict in ``path`` to the CPU.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
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
    """Read the ``last.ckpt`` at ``path``, to resume training of ``model`` from it.

    ``is_averaged`` says whether this training averages its weights.

    Raises:
        InputError: ``resume`` is not set; the file is not a checkpoint of a run, is of another
            model, or was written with averaging if this training has none, or the reverse.
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
    """Return the model's weights in the ``state_dict`` of a ``last.ckpt``, by their own names."""
    prefix = "model."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }


class PlainCheckpointIO(CheckpointIO):
    """Lightning's interface to :func:`write_checkpoint` and :func:`read_checkpoint`."""

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
        """Delete the file if it exists."""
        Path(path).unlink(missing_ok=True)


class Checkpoints(Callback):
    """A callback that writes ``last.ckpt`` and ``best.ckpt`` in ``folder``.

    It saves after every validation, and whenever :meth:`save` is called; ``refresh`` is called
    first to update ``state``. ``best.ckpt`` gets the validated weights whenever ``state.last_wer``
    falls below ``state.best_wer``. The random states in ``resumed_random``, one for each process
    that wrote the checkpoint, are restored once the first batches are loaded.
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
        self.state_of_all: RunState | None = None  # as last saved

    @property
    def last_path(self) -> Path:
        """Path of ``last.ckpt``."""
        return self._folder / LAST

    @property
    def best_path(self) -> Path:
        """Path of ``best.ckpt``."""
        return self._folder / BEST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states of the checkpoint."""
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
        """Save both; by now the module has its current weights back."""
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
