"""A run config as plain data, small enough for a test."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from tests.encoder.tiny import EncoderKind, randomise

VOCAB_SIZE = 7
SAMPLE_RATE_HZ = 8000

_ENCODER = {
    "num_layers": 4,
    "d_model": 16,
    "num_heads": 2,
    "ffn_dim": 32,
    "positions": "relative",
    "subsampling": "conv4",
    "subsampling_channels": 8,
    "dropout": 0.1,
}

ENCODERS: dict[EncoderKind, dict[str, Any]] = {
    "conformer": {
        "_target_": "asr.encoder.conformer.Conformer",
        "conv_kernel_size": 5,
        **_ENCODER,
    },
    "transformer": {"_target_": "asr.encoder.transformer.Transformer", **_ENCODER},
}

CONFIG: dict[str, Any] = {
    "features": {
        "fbank": {
            "_target_": "asr.features.fbank.LogMel",
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "num_mel_bins": 10,
        },
        "normalize": {
            "_target_": "asr.features.normalize.UtteranceNorm",
            "variance": True,
            "range_db": 50.0,
        },
        "specaugment": {
            "_target_": "asr.features.specaugment.SpecAugment",
            "num_freq_masks": 1,
            "max_freq_width": 3,
            "num_time_masks": 2,
            "max_time_width": 5,
            "max_time_fraction": 0.2,
        },
    },
    "text": {
        "tokenizer": {
            "_target_": "asr.text.tokenizer.TokenizerSpec",
            "kind": "char",
            "vocab_size": 30,
            "model": None,
        },
        "normalize": {
            "_target_": "asr.text.normalize.TranscriptNormalizer",
            "case": "lower",
            "punctuation": "drop",
        },
    },
    "reuse": {"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 2},
    "encoder": ENCODERS["conformer"],
    "head": {"_target_": "asr.head.ctc.CtcHead", "dropout": 0.1},
    "decode": {"_target_": "asr.decode.greedy.GreedyDecoder"},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The config with the key at a dotted path set, or added."""
    config = copy.deepcopy(CONFIG)
    *groups, key = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    group[key] = value
    return config


def without(path: str) -> dict[str, Any]:
    """The config without the key at a dotted path."""
    config = copy.deepcopy(CONFIG)
    *groups, key = path.split(".")
    group = config
    for name in groups:
        group = group[name]
    del group[key]
    return config


def tiny_model(config: dict[str, Any] | None = None, vocab_size: int = VOCAB_SIZE) -> AsrModel:
    """A randomised model in inference mode."""
    model = build_model(CONFIG if config is None else config, vocab_size)
    randomise(model)
    return model.eval()


def random_waveforms(lengths: list[int], *, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Noise (B, N), zero behind each length, and the lengths (B,)."""
    generator = torch.Generator().manual_seed(seed)
    waveforms_BN = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveforms_BN[row, :length] = 0.1 * torch.randn(length, generator=generator)
    return waveforms_BN, torch.tensor(lengths)
