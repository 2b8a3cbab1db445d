"""Start a model from the weights of another one: fine-tuning, or another reuse schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from asr.types import InputError


class Initialised(NamedTuple):
    """Names of tensors: copied, left as built because the weights lack or misfit them, unused."""

    copied: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def initialise(model: nn.Module, weights: Mapping[str, Tensor]) -> Initialised:
    """Copy every tensor of ``weights`` that ``model`` has by the same name and shape.

    A follower lacks what its leader computes, so a full model starts a reuse schedule as it is.

    Raises:
        InputError: no tensor fits.
    """
    own = model.state_dict()
    copied = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not any(tensor.dim() > 1 for tensor in copied.values()):  # counters fit in any model
        raise InputError(
            "init: no tensor of that model fits; encoder and head must have the same dimensions"
        )
    model.load_state_dict({**own, **copied})
    return Initialised(
        copied=tuple(copied),
        fresh=tuple(name for name in own if name not in copied),
        unused=tuple(name for name in weights if name not in copied),
    )
