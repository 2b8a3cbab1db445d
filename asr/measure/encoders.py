"""Building the encoders of run configs, and the calls to time.

Shape legend: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asr.encoder.graphed import LONGEST_FRAMES, GraphedEncoder
from asr.encoder.precision import compute_in
from asr.encoder.stack import Encoder
from asr.measure.peers.peer import Config, Peer
from asr.model.asr_model import AsrModel
from asr.model.build import EXIT, build_encoder, build_frontend
from asr.model.convert import initialise
from asr.profiling.cost import multiply_adds_by_part
from asr.report.record import ScheduledLayer

BASELINES: dict[str, dict[str, Any]] = {
    "fused": {"_target_": "asr.reuse.none.NoReuse", "fused": True},
    "explicit": {"_target_": "asr.reuse.none.NoReuse", "fused": False},
}


def distinct_encoders(
    configs: Mapping[str, Config],
    device: torch.device | str,
    dtype: str = "float32",
    model: AsrModel | None = None,
) -> dict[str, tuple[Encoder, Config]]:
    """Build each different encoder once, with its two baselines, by `encoder_key`.

    If ``model`` is given, they get its weights, except those that their schedules remove.
    """
    encoders: dict[str, tuple[Encoder, Config]] = {}
    for config in configs.values():
        for variant in (config, *(with_reuse(config, reuse) for reuse in BASELINES.values())):
            key = encoder_key(variant)
            if key not in encoders:
                encoder = build_encoder(variant, build_frontend(variant).num_mel_bins)
                if model is not None:
                    initialise(encoder, model.encoder.state_dict())
                encoder = encoder.to(device).eval()
                compute_in(encoder, dtype)
                encoder.keep_between_calls()
                encoders[key] = (encoder, variant)
    return encoders


def with_reuse(config: Config, reuse: Config) -> dict[str, Any]:
    """Return the config with another reuse method."""
    return {**config, "reuse": reuse}


def encoder_key(config: Config) -> str:
    """Return a key that is equal for configs of equal encoders."""
    parts = [config["encoder"], config["reuse"], config["features"], config.get(EXIT)]
    return json.dumps(parts, sort_keys=True)


def frame_shift_ms(config: Config) -> float:
    """Return the milliseconds from one feature frame to the next."""
    return build_frontend(config).frame_shift_ms


def scheduled_layers(encoder: Encoder) -> tuple[ScheduledLayer, ...]:
    """Return the encoder's schedule as the run record stores it."""
    return tuple(ScheduledLayer(**row._asdict()) for row in encoder.schedule_rows())


def encoder_shape(config: Config) -> Encoder:
    """Return the encoder without values of its weights, for counting."""
    with torch.device("meta"):
        return build_encoder(config, build_frontend(config).num_mel_bins)


def macs_by_part(config: Config, length_s: float) -> dict[str, int]:
    """Count the multiply-adds of a first call for one utterance, without computing anything."""
    frontend, encoder = build_frontend(config), encoder_shape(config)
    features_BTF, lengths_B = random_features(
        frontend.num_mel_bins, length_s, 1, frontend.frame_shift_ms, "cpu"
    )
    return multiply_adds_by_part(encoder, features_BTF.to("meta"), lengths_B, depth=2)


def forward_pass(
    encoder: Encoder | Peer,
    length_s: float,
    batch_size: int,
    shift_ms: float,
    device: torch.device | str,
) -> Callable[[], object]:
    """Return a call of the encoder on random features of ``length_s`` seconds."""
    features_BTF, lengths_B = random_features(
        encoder.num_mel_bins, length_s, batch_size, shift_ms, device
    )
    return partial(torch.inference_mode()(encoder.__call__), features_BTF, lengths_B)


def forward_passes(
    encoders: Mapping[str, tuple[Encoder | Peer, Config]],
    length_s: float,
    batch_size: int,
    device: torch.device | str,
) -> dict[str, Callable[[], object]]:
    """Return a call of each encoder, as `forward_pass` makes it."""
    return {
        key: forward_pass(encoder, length_s, batch_size, frame_shift_ms(config), device)
        for key, (encoder, config) in encoders.items()
    }


def replayed_passes(
    encoders: Mapping[str, tuple[Encoder, Config]],
    length_s: float,
    batch_size: int,
    device: torch.device | str,
    report: Callable[[str], None],
) -> dict[str, Callable[[], object]]:
    """Return the same calls as CUDA graphs, recorded here unless too long.

    ``report`` receives the time that recording took.
    """
    passes: dict[str, Callable[[], object]] = {}
    record_s = 0.0
    for key, (encoder, config) in encoders.items():
        graphs = GraphedEncoder(encoder)
        features_BTF, lengths_B = random_features(
            encoder.num_mel_bins, length_s, batch_size, frame_shift_ms(config), device
        )
        if features_BTF.shape[1] <= LONGEST_FRAMES:
            graphs.record(features_BTF)
        record_s += graphs.record_s
        passes[key] = partial(torch.inference_mode()(graphs.__call__), features_BTF, lengths_B)
    report(f"recorded CUDA graphs of {len(passes)} encoders in {record_s:.1f} s")
    return passes


def random_features(
    num_mel_bins: int,
    length_s: float,
    batch_size: int,
    shift_ms: float,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Return normal features (B, T, F) without padding, equal on every call, and their lengths."""
    num_frames = max(1, round(length_s * 1000 / shift_ms))
    generator = torch.Generator().manual_seed(0)
    features_BTF = torch.randn(batch_size, num_frames, num_mel_bins, generator=generator)
    return features_BTF.to(device), torch.full((batch_size,), num_frames, device=device)
