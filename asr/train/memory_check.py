"""The memory check: tries the largest batch before the first step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from asr.errors import RunError, is_out_of_memory
from asr.model.asr_model import AsrModel
from asr.train.failures import REMEDY, describe_batch
from asr.train.module import AsrModule
from asr.train.state import random_state, set_random_state
from asr.types import Batch


class MemoryCheck(Callback):
    """A callback that runs a forward and backward pass of ``batch`` before the first step.

    Utterances are as long as training may make them: at the lowest speed, with the most silence.
    The run itself does not change: weights are not touched, buffers and random states are restored,
    gradients are dropped. During the check, memory is reserved for AdamW's state.

    Raises:
        RunError: out of memory; names the utterances, their shape and the key to lower.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the batch as a step would."""
        assert isinstance(pl_module, AsrModule)
        assert isinstance(pl_module.model, nn.Module)
        randomness = random_state()
        buffers = _Buffers(pl_module.model)
        try:
            room = [] if any(o.state for o in trainer.optimizers) else _adam_state(pl_module)
            with trainer.precision_plugin.train_step_context(), at_longest(pl_module.model):
                loss = pl_module.batch_loss(self._batch.to(pl_module.device)).loss
            loss.backward()  # type: ignore[no-untyped-call]
            del loss, room
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                "out of memory in the largest batch, tried first: "
                f"{describe_batch(self._batch)}; {REMEDY}"
            ) from error
        finally:
            pl_module.zero_grad(set_to_none=True)
            buffers.put_back()
            set_random_state(randomness)


def at_longest(model: nn.Module) -> AbstractContextManager[None]:
    """Make augmentations of ``model`` that change lengths give the longest, within the block."""
    return model.frontend.at_longest() if isinstance(model, AsrModel) else nullcontext()


class _Buffers:
    """A copy of a model's buffers, stored or not, to restore them."""

    def __init__(self, model: nn.Module) -> None:
        self._kept: list[tuple[nn.Module, str, Tensor, Tensor]] = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        for module, name, buffer, value in self._kept:
            buffer.copy_(value)
            module._buffers[name] = buffer


def _adam_state(module: nn.Module) -> list[Any]:
    return [torch.empty_like(p) for p in module.parameters() if p.requires_grad for _ in range(2)]
