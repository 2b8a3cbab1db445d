"""Conformers of the library transformers: that of wav2vec 2.0, and Parakeet's FastConformer.

Shape legend: B batch, T frames, F mel bins, D model width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.parakeet.configuration_parakeet import ParakeetEncoderConfig
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoder
from transformers.models.wav2vec2_conformer.configuration_wav2vec2_conformer import (
    Wav2Vec2ConformerConfig,
)
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerEncoder,
)

from asr.errors import InputError
from asr.measure.peers.peer import Config, Peer, PeerSize, SubsampledPeer, load_encoder
from asr.model.asr_model import AsrModel
from asr.types import EncoderOutput


class Wav2Vec2Conformer(SubsampledPeer):
    """wav2vec 2.0's layers after our subsampling; ``positions`` are relative or rotary."""

    def __init__(self, size: PeerSize, *, positions: str) -> None:
        super().__init__(size)
        self.layers = Wav2Vec2ConformerEncoder(
            Wav2Vec2ConformerConfig(
                **dimensions(size),
                conv_depthwise_kernel_size=size.conv_kernel_size,
                position_embeddings_type=positions,
                attn_implementation="sdpa",  # by default these layers use the slower eager one
                hidden_act="swish",
                hidden_dropout=size.dropout,
                conformer_conv_dropout=size.dropout,
            )
        )

    def encode(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return (B, T, D) for (B, T, D)."""
        frames_BTD: Tensor = self.layers(x_BTD).last_hidden_state
        return frames_BTD


class Parakeet(Peer):
    """FastConformer with relative positions and its own eightfold subsampling."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__(size)
        if size.subsampling != "separable8":
            raise InputError(
                f"--against parakeet: encoder.subsampling={size.subsampling}; "
                "its own is like separable8, which is allowed"
            )
        self.encoder = ParakeetEncoder(
            ParakeetEncoderConfig(
                **dimensions(size),
                conv_kernel_size=size.conv_kernel_size,
                subsampling_conv_channels=size.subsampling_channels,
                num_mel_bins=size.num_mel_bins,
                dropout=size.dropout,
            )
        )

    def take_weights(self, model: AsrModel, config: Config) -> None:
        """See `Peer.take_weights`; only a model without reuse has all weights."""
        load_encoder(self.encoder, model, config, "huggingface")
        self.encoder.input_scale = 1.0  # already folded into the weights

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """Return (B, T / 8, D) for (B, T, F)."""
        frames_BTD: Tensor = self.encoder(features_BTF.to(self.dtype)).last_hidden_state
        return EncoderOutput(frames_BTD, torch.full_like(lengths_B, frames_BTD.shape[1]))


def dimensions(size: PeerSize) -> dict[str, Any]:
    """Return the dimensions that the configs of both encoders call by the same names."""
    return {
        "hidden_size": size.d_model,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "intermediate_size": size.ffn_dim,
        "attention_dropout": size.dropout,
        "activation_dropout": size.dropout,
        "layerdrop": 0.0,
    }
