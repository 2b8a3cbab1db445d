"""Encoders of other libraries at the dimensions of run configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from asr.model.build import build_frontend
from asr.report.peers.choice import build_peer
from asr.report.peers.peer import Peer
from asr.report.peers.size import PeerSize

Config = Mapping[str, Any]


def peer_encoders(
    configs: Mapping[str, Config],
    against: Sequence[str],
    device: torch.device | str,
    dtype: str,
) -> dict[str, tuple[Peer, Config]]:
    """Encoders of other libraries at the dimensions of each config, by `peer_key`."""
    peers: dict[str, tuple[Peer, Config]] = {}
    for config in configs.values():
        for name in against:
            key = peer_key(name, config)
            if key not in peers:
                peer = build_peer(name, peer_size(config))
                peers[key] = (peer.to(device, getattr(torch, dtype)), config)
    return peers


def peer_key(name: str, config: Config) -> str:
    """Equal where encoders of another library are equal; never an `encoder_key`."""
    return f"{name} {json.dumps(asdict(peer_size(config)))}"


def peer_size(config: Config) -> PeerSize:
    """The dimensions that another library's encoder gets."""
    return PeerSize.from_config(config["encoder"], build_frontend(config).num_mel_bins)
