"""New models from trained models: the same weights with another reuse schedule."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from asr.encoder.maps import EncoderLayer
from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.reuse.head_order import reorder_heads
from asr.reuse.none import AloneAttention
from asr.types import SharedPieces


class Initialised(NamedTuple):
    """Names of tensors: copied, left as built since the weights lack or misfit them, unused."""

    copied: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def initialise(model: nn.Module, weights: Mapping[str, Tensor]) -> Initialised:
    """Copy every tensor of ``weights`` that ``model`` has with the same name and shape.

    A follower needs only part of a full layer's tensors, so a model without reuse can initialise
    any reuse schedule.

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


def share_pieces(
    model: AsrModel,
    weights: Mapping[str, Tensor],
    theirs: Sequence[str],
    ours: Sequence[str],
) -> tuple[dict[str, Tensor], SharedPieces]:
    """Adapt ``weights`` with vocabulary ``theirs`` to ``model`` with vocabulary ``ours``.

    In tensors of the head with a row per piece, rows are moved to the position of the same piece in
    ``ours``; pieces without a row keep that of ``model``. A tensor of another width is left
    unchanged.
    """
    place = {piece: row for row, piece in enumerate(theirs)}
    kept = [(row, place[piece]) for row, piece in enumerate(ours) if piece in place]
    new_rows, old_rows = (list(rows) for rows in zip(*kept, strict=True))
    moved = dict(weights)
    own = model.state_dict()
    for tensor in model.head.tensors_by_piece:
        name = f"head.{tensor}"
        former = weights.get(name)
        if former is None or name not in own or former.shape[1:] != own[name].shape[1:]:
            continue
        moved[name] = own[name].clone()
        moved[name][new_rows] = former[old_rows].to(own[name].dtype)
    return moved, SharedPieces(
        kept=tuple(piece for piece in ours if piece in place),
        fresh=tuple(piece for piece in ours if piece not in place),
        dropped=tuple(piece for piece in theirs if piece not in set(ours)),
    )


class LayerChange(NamedTuple):
    """The change of a layer's attention, as names of tensors.

    ``kept`` are the layer's own, ``narrowed`` are parts of its own; ``taken`` are made from those
    of its followers; ``fresh`` are new and left as built; ``dropped`` are removed.
    """

    layer: int
    kept: tuple[str, ...]
    narrowed: tuple[str, ...]
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]


class Conversion(NamedTuple):
    """The new model, in inference mode, and the change of each layer."""

    model: AsrModel
    changes: tuple[LayerChange, ...]


def convert(
    parent: AsrModel,
    config: Mapping[str, Any],
    *,
    orders: Mapping[int, Sequence[int]] | None = None,
    seed: int = 0,
) -> Conversion:
    """Return the model of ``config`` with the weights of ``parent``; only ``reuse`` differs.

    Each layer keeps the part of its former attention that its role has (`LayerAttention.inherit`);
    everything else is copied. ``orders`` first reorders the heads of some layers; ``seed`` is for
    weights that the parent does not have.

    Raises:
        InputError: ``parent`` has no full attention, or the schedule does not fit its depth.
    """
    own = reordered(full_attention(parent.encoder), orders or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config, vocab_size=parent.head.vocab_size)
    initialise(
        model,
        {name: one for name, one in parent.state_dict().items() if ".attention." not in name},
    )
    changes = [_inherit(model.encoder, layer, own) for layer in range(model.encoder.num_layers)]
    device = next(parent.parameters()).device
    return Conversion(model.to(device).eval(), tuple(changes))


def _inherit(encoder: Encoder, layer: int, own: Sequence[AloneAttention]) -> LayerChange:
    attention = cast(EncoderLayer, encoder.layers[layer]).attention
    followers = [own[role.layer] for role in encoder.schedule if role.leader == layer]
    filled = attention.inherit(own[layer], followers)
    former, present = own[layer].state_dict(), attention.state_dict()
    inherited = [name for name in present if name in filled and name in former]
    is_whole = {name: former[name].shape == present[name].shape for name in inherited}
    return LayerChange(
        layer=layer,
        kept=tuple(name for name in inherited if is_whole[name]),
        narrowed=tuple(name for name in inherited if not is_whole[name]),
        taken=tuple(name for name in present if name in filled and name not in former),
        fresh=tuple(name for name in present if name not in filled),
        dropped=tuple(name for name in former if name not in filled),
    )


def full_attention(encoder: Encoder) -> list[AloneAttention]:
    """Return the attention of every layer.

    Raises:
        InputError: a layer does not compute all heads of its own attention over all frames.
    """
    found: list[AloneAttention] = []
    for role, module in zip(encoder.schedule, encoder.layers, strict=True):
        attention = cast(EncoderLayer, module).attention
        if (
            not isinstance(attention, AloneAttention)
            or attention.scores.num_heads != encoder.num_heads
        ):
            raise InputError(
                f"layer {role.layer} of that model has no full attention (reuse "
                f"{encoder.reuse.name}, {role.role.value}); only a model trained with reuse=none "
                "can be converted"
            )
        found.append(attention)
    return found


def reordered(
    own: Sequence[AloneAttention], orders: Mapping[int, Sequence[int]]
) -> list[AloneAttention]:
    """Return the attention, with the heads of some layers reordered in copies."""
    found = list(own)
    for layer, order in orders.items():
        found[layer] = copy.deepcopy(own[layer])
        reorder_heads(found[layer], order)
    return found


def module_names(tensors: Iterable[str]) -> list[str]:
    """Return the modules of tensors, up to two levels: ``mix.value`` for ``mix.value.weight``."""
    return list(dict.fromkeys(".".join(name.split(".")[:-1][:2]) for name in tensors))
