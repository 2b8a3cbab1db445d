"""Builds encoders of other libraries at the dimensions of run configs."""

from __future__ import annotations

import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from typing import Any, NamedTuple, Self, cast, get_args

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import build_frontend
from asr.nn.subsampling import ConvSubsampling, SubsamplingKind
from asr.types import EncoderOutput

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSize:
    """Dimensions of a Conformer, named as in the config group ``encoder``.

    ``dropout`` is everywhere that a library has it; none of them drops a whole layer.
    """

    num_mel_bins: int
    num_layers: int
    d_model: int
    num_heads: int
    ffn_dim: int
    conv_kernel_size: int
    subsampling: str
    subsampling_channels: int
    dropout: float

    @classmethod
    def from_config(cls, encoder: Mapping[str, Any], num_mel_bins: int) -> Self:
        """From the config group ``encoder``; raises InputError where that is no Conformer."""
        names = [field.name for field in fields(cls) if field.name != "num_mel_bins"]
        for name in names:
            if name not in encoder:
                raise InputError(
                    f"--against: the encoder of this recipe has no encoder.{name}; "
                    "other libraries' encoders are Conformers, encoder=conformer_* is allowed"
                )
        return cls(num_mel_bins=num_mel_bins, **{name: encoder[name] for name in names})


class Peer(nn.Module, ABC):
    """Features (B, T, F) and their lengths to frames (B, T / factor, D), called as our encoders."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__()
        self.num_mel_bins = size.num_mel_bins
        self.d_model = size.d_model

    @abstractmethod
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """(B, T, F) without padding to (B, T / factor, D)."""

    def take_weights(self, model: AsrModel, config: Config) -> None:
        """Compute what the encoder of ``model``, built from ``config``, computes.

        Raises:
            InputError: this encoder is another one.
        """
        able = ", ".join(name for name, choice in PEERS.items() if choice.takes_weights)
        raise InputError(f"--against {type(self).__name__}: not with --model; allowed: {able}")

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return next(self.parameters()).dtype


class SubsampledPeer(Peer):
    """A library's layers behind our subsampling, for those that have none of their own."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__(size)
        assert size.subsampling in get_args(SubsamplingKind)
        self.subsampling = ConvSubsampling(
            kind=cast(SubsamplingKind, size.subsampling),
            num_mel_bins=size.num_mel_bins,
            channels=size.subsampling_channels,
            d_model=size.d_model,
        )

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """(B, T, F) to (B, T / factor, D)."""
        x_BTD, lengths_B = self.subsampling(features_BTF.to(self.dtype), lengths_B)
        return EncoderOutput(self.encode(x_BTD, lengths_B), lengths_B)

    @abstractmethod
    def encode(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """The library's layers on subsampled frames."""


class Choice(NamedTuple):
    """Where an adapter is, and the distribution that it needs; its module imports the library."""

    module: str
    name: str
    distribution: str
    arguments: Mapping[str, Any] = {}
    takes_weights: bool = False


PEERS = {
    "torchaudio": Choice("torchaudio", "TorchaudioConformer", "torchaudio"),
    "transformers_relative": Choice(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "relative"}
    ),
    "transformers_rotary": Choice(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "rotary"}
    ),
    "parakeet": Choice("transformers", "Parakeet", "transformers", takes_weights=True),
    "nemo": Choice("nemo", "NemoConformer", "nemo_toolkit", {"fused": False}),
    "nemo_fused": Choice("nemo", "NemoConformer", "nemo_toolkit", {"fused": True}),
}


def check_peers(names: Sequence[str]) -> None:
    """Raise InputError where the library of one of ``names`` is not installed."""
    for name in names:
        distribution = PEERS[name].distribution
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            raise InputError(
                f"--against {name} needs {distribution}, which is not installed; "
                f"pip install {distribution}"
            ) from None


def build_peer(name: str, size: PeerSize) -> Peer:
    """The encoder ``name`` of `PEERS`, with random weights, in evaluation mode.

    Raises InputError where its library is not installed or cannot have that size. What a library
    prints while it is imported goes to stderr.
    """
    choice = PEERS[name]
    with redirect_stdout(sys.stderr):
        try:
            module = importlib.import_module(f"asr.measure.peers.{choice.module}")
        except ImportError as error:
            raise InputError(
                f"--against {name}: {choice.distribution} cannot be imported ({error}); "
                f"pip install {choice.distribution}"
            ) from error
        peer: Peer = getattr(module, choice.name)(size, **choice.arguments)
    return peer.eval()


def peer_versions(names: list[str]) -> dict[str, str]:
    """Versions of the libraries behind ``names``, by distribution."""
    distributions = dict.fromkeys(PEERS[name].distribution for name in names)
    return {name: metadata.version(name) for name in distributions}


def peer_encoders(
    configs: Mapping[str, Config],
    against: Sequence[str],
    device: torch.device | str,
    dtype: str,
    model: AsrModel | None = None,
) -> dict[str, tuple[Peer, Config]]:
    """Encoders of other libraries at the dimensions of each config, by `peer_key`.

    They get the weights of ``model`` where there is one, see `Peer.take_weights`.
    """
    peers: dict[str, tuple[Peer, Config]] = {}
    for config in configs.values():
        for name in against:
            key = peer_key(name, config)
            if key not in peers:
                peer = build_peer(name, peer_size(config))
                if model is not None:
                    peer.take_weights(model, config)
                peers[key] = (peer.to(device, getattr(torch, dtype)), config)
    return peers


def peer_key(name: str, config: Config) -> str:
    """Equal where encoders of another library are equal; never an `encoder_key`."""
    return f"{name} {json.dumps(asdict(peer_size(config)))}"


def peer_size(config: Config) -> PeerSize:
    """The dimensions that another library's encoder gets."""
    return PeerSize.from_config(config["encoder"], build_frontend(config).num_mel_bins)
