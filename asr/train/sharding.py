"""Sharding of weights, gradients and optimiser state over processes.

Fully sharded data parallelism: Zhao et al. 2023, after ZeRO (Rajbhandari et al. 2020); here by
PyTorch's ``fully_shard``. The units, each gathered as a whole while it runs, are the subsampling,
each encoder layer, the encoder's last norm, and the head. Checkpoints are the same as without
sharding: whole tensors under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from asr.distributed import is_first
from asr.model.asr_model import AsrModel


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for models that shard themselves, with checkpoints of whole tensors.

    Args:
        num_processes: over all machines; each holds a shard of everything.
    """

    def __init__(self, *, num_processes: int) -> None:
        super().__init__(
            data_parallel_size=num_processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether Lightning restores it: yes, by :meth:`load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return whole weights; empty except in the first process."""
        assert self.lightning_module is not None
        state: dict[str, Any] = gathered(self.lightning_module.state_dict())
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state, numbered as in one process; tensors only in the first process."""
        state: dict[str, Any] = gathered(getattr(optimizer, "_optimizer", optimizer).state_dict())
        return state

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Read the checkpoint as it was written, in every process."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this process's shards of the weights."""
        assert self.lightning_module is not None
        load_whole(self.lightning_module, checkpoint["state_dict"])

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of the optimisers' states."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            pieces = {
                number: {name: _piece(value, parameters[number]) for name, value in each.items()}
                for number, each in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": pieces})


def shard(model: AsrModel, mesh: DeviceMesh) -> None:
    """Replace every parameter of ``model``, in place, by this process's shard."""
    encoder = model.encoder
    for unit in (encoder.subsampling, *encoder.layers, encoder.norm, encoder, model.head):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())


def gathered(state: Any) -> Any:
    """Return ``state``, through dicts and lists, with whole tensors on the CPU for shards.

    All processes must call it; only the first gets the tensors, the others None.
    """
    if isinstance(state, DTensor):
        tensor = state.full_tensor()
        return tensor.cpu() if is_first() else None
    if isinstance(state, dict):
        return {key: gathered(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value) for value in state)
    return state


def load_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole tensors into ``module``, sharded or not."""
    own = module.state_dict()
    module.load_state_dict({name: _piece(value, own.get(name)) for name, value in state.items()})


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of ``tensor``, as a view."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return ``tensor`` as a whole, the same in all processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _piece(value: Any, like: Tensor | None) -> Any:
    """Return this process's shard of ``value``, cut like ``like`` if their shapes are equal."""
    is_cut = isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape
    if not is_cut:
        return value
    assert isinstance(like, DTensor)
    placed = value.to(like.device_mesh.device_type)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)
