"""Conversion of the weights of NeMo's and transformers' Conformers to ours, and back.

Shape legend: D model width, C channels, F frequencies, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.model.weights import check_memory, shapes_of
from asr.ranges import shown
from asr.text.tokenizer import Tokenizer

Library = Literal["nemo", "huggingface"]
SUBSAMPLING_FACTORS = {"conv4": 4, "separable8": 8}


class TensorFile(Protocol):
    """A file of tensors, whose values are read one at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor by its name."""
        ...

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A model of another library: the config of ours, and the source of its weights.

    ``scales_input`` multiplies the input of the first layer by the root of the width.
    ``has_layer_biases`` and ``has_conv_biases`` say whether the linear layers and the convolutions
    of a layer have biases. ``head`` is the name prefix of the head's tensors.
    """

    library: Library
    config: dict[str, Any]
    tokenizer: Tokenizer
    weights: TensorFile
    head: str
    scales_input: bool
    has_layer_biases: bool
    has_conv_biases: bool
    notes: tuple[str, ...] = ()


class _Names(NamedTuple):
    nemo: str
    huggingface: str


def _same(name: str) -> _Names:
    return _Names(name, name)


_LAYER = {
    "feedforward_in.norm": _same("norm_feed_forward1"),
    "feedforward_in.expand": _same("feed_forward1.linear1"),
    "feedforward_in.project": _same("feed_forward1.linear2"),
    "attention_norm": _same("norm_self_att"),
    "attention.scores.query": _Names("self_attn.linear_q", "self_attn.q_proj"),
    "attention.scores.key": _Names("self_attn.linear_k", "self_attn.k_proj"),
    "attention.scores.positions.position": _Names(
        "self_attn.linear_pos", "self_attn.relative_k_proj"
    ),
    "attention.scores.positions.content_bias_HK": _Names(
        "self_attn.pos_bias_u", "self_attn.bias_u"
    ),
    "attention.scores.positions.position_bias_HK": _Names(
        "self_attn.pos_bias_v", "self_attn.bias_v"
    ),
    "attention.mix.value": _Names("self_attn.linear_v", "self_attn.v_proj"),
    "attention.mix.output": _Names("self_attn.linear_out", "self_attn.o_proj"),
    "convolution.norm": _same("norm_conv"),
    "convolution.expand": _same("conv.pointwise_conv1"),
    "convolution.depthwise": _same("conv.depthwise_conv"),
    "convolution.batch_norm": _Names("conv.batch_norm", "conv.norm"),
    "convolution.project": _same("conv.pointwise_conv2"),
    "feedforward_out.norm": _same("norm_feed_forward2"),
    "feedforward_out.expand": _same("feed_forward2.linear1"),
    "feedforward_out.project": _same("feed_forward2.linear2"),
    "norm": _same("norm_out"),
}
_STAGES = {
    "conv4": {"stages.0.0": "0", "stages.1.0": "2"},
    "separable8": {
        "stages.0.0": "0",
        "stages.1.0": "2",
        "stages.1.1": "3",
        "stages.2.0": "5",
        "stages.2.1": "6",
    },
}
_CONVOLUTIONS = ("convolution.expand", "convolution.depthwise", "convolution.project")
_BATCH_NORM = "convolution.batch_norm"
_POINTWISE = (_CONVOLUTIONS[0], _CONVOLUTIONS[2])
_NEMO_SHARED = {"pos_bias_u": "encoder.pos_bias_u", "pos_bias_v": "encoder.pos_bias_v"}


class _Place(NamedTuple):
    """One of our tensors: its module within a layer, and its name in the other library."""

    module: str
    leaf: str
    theirs: str


def _places(model: AsrModel, library: Library, subsampling: str, head: str) -> dict[str, _Place]:
    """Return the place of each of our tensors in the other library."""
    index = 0 if library == "nemo" else 1
    front = (_Names("pre_encode.conv", "subsampling.layers"))[index]
    project = (_Names("pre_encode.out", "subsampling.linear"))[index]
    found = {}
    for name in model.state_dict():
        module, _, leaf = name.rpartition(".")
        if leaf.endswith("_HK"):
            module, leaf = name, ""
        if module == "head.project":
            theirs, inside = head, module
        elif module == "encoder.subsampling.project":
            theirs, inside = f"encoder.{project}", module
        elif module.startswith("encoder.subsampling."):
            stage = _STAGES[subsampling][module.removeprefix("encoder.subsampling.")]
            theirs, inside = f"encoder.{front}.{stage}", module
        else:
            _, _, layer, inside = module.split(".", 3)
            theirs = f"encoder.layers.{layer}.{_LAYER[inside][index]}"
        found[name] = _Place(inside, leaf, f"{theirs}.{leaf}" if leaf else theirs)
    return found


def conformer_config(
    *,
    features: dict[str, Any],
    tokenizer: Tokenizer,
    tokenizer_kind: str,
    dropout: float,
    **encoder: Any,
) -> dict[str, Any]:
    """Return a package's config: a Conformer with relative positions, without reuse, and CTC."""
    return {
        "features": features,
        "text": {
            "normalize": {"_target_": "asr.text.normalize.TranscriptNormalizer"}
            | text_rules(tokenizer),
            "tokenizer": {
                "_target_": "asr.text.tokenizer.TokenizerSpec",
                "kind": tokenizer_kind,
                "vocab_size": tokenizer.vocab_size,
                "model": None,
            },
        },
        "reuse": {"_target_": "asr.reuse.none.NoReuse"},
        "encoder": {
            "_target_": "asr.encoder.conformer.Conformer",
            **encoder,
            "positions": "relative",
            "dropout": dropout,
        },
        "head": {"_target_": "asr.head.ctc.CtcHead"},
        "decode": {"_target_": "asr.decode.greedy.GreedyDecoder"},
    }


def text_rules(tokenizer: Tokenizer) -> dict[str, str]:
    """Return how transcripts are normalised for a vocabulary: case and punctuation."""
    pieces = tokenizer.pieces(range(2, tokenizer.vocab_size))
    text = "".join(piece for piece in pieces if not piece.startswith("<"))
    has_upper, has_lower = text != text.lower(), text != text.upper()
    case = "keep" if has_upper and has_lower else "upper" if has_upper else "lower"
    has_punctuation = any(mark in text for mark in ".,?!")
    return {"case": case, "punctuation": "keep" if has_punctuation else "drop"}


def to_ours(source: Pretrained, where: str) -> AsrModel:
    """Return our model with the weights of another library's, in inference mode.

    Sizes are compared before memory is allocated.

    Raises:
        InputError: a tensor is missing, has another shape, or has no place in our model.
    """
    vocab_size = source.tokenizer.vocab_size
    with torch.device("meta"):
        skeleton = build_model(source.config, vocab_size)
    check_memory(shapes_of(skeleton), where)
    places = _places(skeleton, source.library, _subsampling(source.config), source.head)
    _check(source, skeleton, places, where)
    model = build_model(source.config, vocab_size)
    d_model = model.encoder.d_model
    weights = _Adapted(source, places, d_model)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights.ours(name, tensor))
    return model.eval()


def _subsampling(config: Mapping[str, Any]) -> str:
    return str(config["encoder"]["subsampling"])


def _may_lack(source: Pretrained, place: _Place) -> bool:
    """Return whether this model may lack one of our tensors, which is then zero or one."""
    if place.module == _BATCH_NORM:
        return source.library == "nemo" and place.leaf not in ("weight", "bias")
    if place.leaf != "bias" or place.module.startswith("encoder.") or "norm" in place.module:
        return False
    if place.module in _CONVOLUTIONS:
        return not source.has_conv_biases
    return place.module != "head.project" and not source.has_layer_biases


def _found_as(source: Pretrained, place: _Place) -> str | None:
    """Return the name of a tensor in the file, None if it is missing."""
    shapes = source.weights.shapes
    shared = _NEMO_SHARED.get(place.theirs.rpartition(".")[2], "")
    return next((name for name in (place.theirs, shared) if name in shapes), None)


def _check(
    source: Pretrained, skeleton: AsrModel, places: Mapping[str, _Place], where: str
) -> None:
    shapes = source.weights.shapes
    used = set()
    for name, tensor in skeleton.state_dict().items():
        place = places[name]
        found = _found_as(source, place)
        if found is None:
            if not _may_lack(source, place):
                raise InputError(f"{where}: the tensor {place.theirs} is missing")
            continue
        used.add(found)
        wanted = tuple(tensor.shape)
        if place.module in _POINTWISE or place.module == "head.project":
            wanted += (1,) * (place.leaf == "weight")
        if shapes[found] not in (wanted, tuple(tensor.shape)):
            raise InputError(
                f"{where}: the tensor {found} has shape {list(shapes[found])}, the config says "
                f"{list(wanted)}"
            )
        if place.module == "convolution.depthwise":
            used.add(place.theirs.removesuffix("weight") + "bias")
    odd = sorted(
        name
        for name in shapes.keys() - used
        if name.startswith("encoder.")
        and ".pos_enc." not in name
        and name not in _NEMO_SHARED
        and name not in _NEMO_SHARED.values()
    )
    if odd:
        raise InputError(
            f"{where}: the tensor {shown(odd[0])} has no place in a Conformer of this toolkit"
        )


class _Adapted:
    """The other library's tensors in our layout, each converted on demand."""

    def __init__(self, source: Pretrained, places: Mapping[str, _Place], d_model: int) -> None:
        self._source = source
        self._places = places
        self._scale = math.sqrt(d_model) if source.scales_input else 1.0
        factor = SUBSAMPLING_FACTORS[_subsampling(source.config)]
        bins = int(source.config["features"]["fbank"]["num_mel_bins"])
        self._num_frequencies = -(-bins // factor)

    def ours(self, name: str, like: Tensor) -> Tensor:
        """Return the value of one of our tensors."""
        place = self._places[name]
        found = _found_as(self._source, place)
        if found is None:
            theirs = _absent(place, like)
        else:
            theirs = self._source.weights.read(found).to(like.dtype)
        if place.module == "head.project":
            return blank_first(theirs).view_as(like)
        if place.module == "encoder.subsampling.project":
            if place.leaf == "weight":
                theirs = frequency_first(theirs, self._num_frequencies)
            return theirs * self._scale
        if place.module == _BATCH_NORM and place.leaf == "running_mean":
            bias = place.theirs.rsplit(".", 2)[0] + ".depthwise_conv.bias"
            if bias in self._source.weights.shapes:
                theirs = theirs - self._source.weights.read(bias).to(like.dtype)
        return theirs.reshape(like.shape)


def _absent(place: _Place, like: Tensor) -> Tensor:
    """Return a bias of zeros, or statistics of a BatchNorm that change nothing."""
    if place.leaf == "running_var":
        return torch.full_like(like, 1 - 1e-5)
    return torch.zeros_like(like)


def blank_first(rows: Tensor) -> Tensor:
    """Move the blank, the last row of a head (V, ...), to row 0."""
    return rows.roll(1, 0)


def frequency_first(weight: Tensor, num_frequencies: int) -> Tensor:
    """Reorder columns (D, C * F), channel by channel, to (D, F * C), frequency by frequency."""
    return weight.view(len(weight), -1, num_frequencies).transpose(1, 2).reshape(len(weight), -1)


def to_theirs(
    model: AsrModel, config: Mapping[str, Any], head: str, library: Library = "huggingface"
) -> dict[str, Tensor]:
    """Return our weights by the names of another library's CTC Conformer, with all biases.

    ``head`` is the name prefix that the head's tensors get.
    """
    factor = SUBSAMPLING_FACTORS[_subsampling(config)]
    channels_first = -(-model.frontend.num_mel_bins // factor)
    project = model.encoder.subsampling.project
    assert isinstance(project, nn.Linear)
    num_channels = project.in_features // channels_first
    found: dict[str, Tensor] = {}
    own = model.state_dict()
    for name, place in _places(model, library, _subsampling(config), head).items():
        tensor = own[name].detach().cpu()
        if place.module == "head.project":
            tensor = tensor.roll(-1, 0)
        elif place.module == "encoder.subsampling.project" and place.leaf == "weight":
            tensor = frequency_first(tensor, num_channels)  # the inverse: the axes are swapped
        if place.leaf == "weight" and (
            place.module in _POINTWISE or place.module == "head.project"
        ):
            tensor = tensor.unsqueeze(-1)
        found[place.theirs] = tensor.contiguous().clone()
        if place.module == "convolution.depthwise":
            found[place.theirs.removesuffix("weight") + "bias"] = torch.zeros(len(tensor))
    return found
