"""The encoders of other libraries by the names that ``asr bench --against`` takes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import metadata
from typing import Any, NamedTuple

from asr.report.peers.peer import Peer
from asr.report.peers.size import PeerSize
from asr.types import InputError


class Choice(NamedTuple):
    """Where an adapter is, and the distribution that it needs; its module imports the library."""

    module: str
    name: str
    distribution: str
    arguments: Mapping[str, Any] = {}


PEERS = {
    "torchaudio": Choice("torchaudio", "TorchaudioConformer", "torchaudio"),
    "transformers_relative": Choice(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "relative"}
    ),
    "transformers_rotary": Choice(
        "transformers", "Wav2Vec2Conformer", "transformers", {"positions": "rotary"}
    ),
    "parakeet": Choice("transformers", "Parakeet", "transformers"),
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
            module = importlib.import_module(f"asr.report.peers.{choice.module}")
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
