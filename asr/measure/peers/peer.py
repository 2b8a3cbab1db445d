"""Building encoders of other libraries with the dimensions of run configs."""

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
from asr.interop.parakeet import Library, to_theirs
from asr.model.asr_model import AsrModel
from asr.model.build import build_frontend
from asr.nn.subsampling import ConvSubsampling, SubsamplingKind
from asr.types import EncoderOutput

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSize:
    """Dimensions of a Conformer, named as in the config group ``encoder``.

    ``dropout`` applies wherever a library has dropout; none of them drops whole layers.
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
        """Read the config group ``encoder``; raise InputError unless it is a Conformer."""
        names = [field.name for field in fields(cls) if field.name != "num_mel_bins"]
        for name in names:
            if name not in encoder:
                raise InputError(
                    f"--against: the encoder of this recipe has no encoder.{name}; "
                    "other libraries' encoders are Conformers, encoder=conformer_* is allowed"
                )
        return cls(num_mel_bins=num_mel_bins, **{name: encoder[name] for name in names})


class Peer(nn.Module, ABC):
    """An encoder of another library, with the interface of our encoders."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__()
        self.num_mel_bins = size.num_mel_bins
        self.d_model = size.d_model

    @abstractmethod
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """Return (B, T / factor, D) for (B, T, F) without padding."""

    def take_weights(self, model: AsrModel, config: Config) -> None:
        """Take the weights of ``model``, built from ``config``, to compute the same.

        Raises:
            InputError: this encoder has a different architecture.
        """
        able = ", ".join(name for name, choice in PEERS.items() if choice.takes_weights)
        raise InputError(f"--against {type(self).__name__}: not with --model; allowed: {able}")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype


def load_encoder(encoder: nn.Module, model: AsrModel, config: Config, library: Library) -> None:
    """Load the encoder weights of ``model``, which has no reuse, into one of ``library``."""
    weights = to_theirs(model, config, "head", library)
    encoder.load_state_dict(
        {
            name.removeprefix("encoder."): tensor
            for name, tensor in weights.items()
            if name.startswith("encoder.")
        }
    )


class SubsampledPeer(Peer):
    """A library's layers after our subsampling, for libraries that have none of their own."""

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
        """Return (B, T / factor, D) for (B, T, F)."""
        x_BTD, lengths_B = self.subsampling(features_BTF.to(self.dtype), lengths_B)
        return EncoderOutput(self.encode(x_BTD, lengths_B), lengths_B)

    @abstractmethod
    def encode(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Apply the library's layers to subsampled frames."""


class PeerModule(NamedTuple):
    """The module and class of an adapter, and the distribution whose library the module imports.

    ``extra`` is the part of the distribution that has the encoder.
    """

    module: str
    name: str
    distribution: str
    arguments: Mapping[str, Any] = {}
    takes_weights: bool = False
    extra: str = ""

    @property
    def install(self) -> str:
        """Return the command that installs the library."""
        needed = f"'{self.distribution}[{self.extra}]'" if self.extra else self.distribution
        return f"pip install {needed}"


PEERS = {
    "torchaudio": PeerModule("torchaudio", "TorchaudioConformer", "torchaudio"),
    "transformers_relative": PeerModule(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "relative"}
    ),
    "transformers_rotary": PeerModule(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "rotary"}
    ),
    "parakeet": PeerModule("transformers", "Parakeet", "transformers", takes_weights=True),
    "nemo": PeerModule(
        "nemo", "NemoConformer", "nemo_toolkit", {"fused": False}, takes_weights=True, extra="asr"
    ),
    "nemo_fused": PeerModule(
        "nemo", "NemoConformer", "nemo_toolkit", {"fused": True}, takes_weights=True, extra="asr"
    ),
}


def check_peers(names: Sequence[str]) -> None:
    """Raise InputError if the library of one of ``names`` is not installed."""
    for name in names:
        choice = PEERS[name]
        try:
            metadata.version(choice.distribution)
        except metadata.PackageNotFoundError:
            raise InputError(
                f"--against {name} needs {choice.distribution}, which is not installed; "
                f"{choice.install}"
            ) from None


def build_peer(name: str, size: PeerSize) -> Peer:
    """Build the encoder ``name`` of `PEERS`, with random weights, in evaluation mode.

    Raises InputError if its library is not installed or does not support that size. What a library
    prints while it is imported goes to stderr.
    """
    choice = PEERS[name]
    with redirect_stdout(sys.stderr):
        try:
            module = importlib.import_module(f"asr.measure.peers.{choice.module}")
        except ImportError as error:
            raise InputError(
                f"--against {name}: {choice.distribution} cannot be imported ({error}); "
                f"{choice.install}"
            ) from error
        peer: Peer = getattr(module, choice.name)(size, **choice.arguments)
    return peer.eval()


def peer_versions(names: list[str]) -> dict[str, str]:
    """Return the versions of the libraries of ``names``, by distribution."""
    distributions = dict.fromkeys(PEERS[name].distribution for name in names)
    return {name: metadata.version(name) for name in distributions}


def peer_encoders(
    configs: Mapping[str, Config],
    against: Sequence[str],
    device: torch.device | str,
    dtype: str,
    model: AsrModel | None = None,
) -> dict[str, tuple[Peer, Config]]:
    """Build encoders of other libraries with the dimensions of each config, by `peer_key`.

    If ``model`` is given, they get its weights, see `Peer.take_weights`.
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
    """Return a key that is equal for equal encoders of a library; never an `encoder_key`."""
    return f"{name} {json.dumps(asdict(peer_size(config)))}"


def peer_size(config: Config) -> PeerSize:
    """Return the dimensions for another library's encoder."""
    return PeerSize.from_config(config["encoder"], build_frontend(config).num_mel_bins)
