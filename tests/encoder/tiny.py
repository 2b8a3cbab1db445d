"""Encoders small enough for a test, with no parameter left at a value that hides a mistake."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from asr.encoder.conformer import Conformer
from asr.encoder.stack import Encoder
from asr.encoder.transformer import Transformer
from asr.nn.convolution import Normalisation
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.reuse.base import ReuseMethod
from asr.reuse.none import NoReuse

EncoderKind = Literal["conformer", "transformer"]

KINDS: tuple[EncoderKind, ...] = ("conformer", "transformer")
POSITIONS: tuple[PositionKind, ...] = ("relative", "rotary", "none")

NUM_MEL_BINS = 10
D_MODEL = 16
NUM_HEADS = 2


def tiny_encoder(
    kind: EncoderKind = "conformer",
    *,
    reuse: ReuseMethod | None = None,
    positions: PositionKind = "relative",
    num_layers: int = 4,
    num_heads: int = NUM_HEADS,
    subsampling: SubsamplingKind = "conv4",
    dropout: float = 0.0,
    causal_convolution: bool = False,
    convolution_norm: Normalisation = "batch",
    seed: int = 0,
) -> Encoder:
    """A randomised encoder in inference mode; a Transformer has no convolutions."""
    reuse = NoReuse() if reuse is None else reuse
    encoder: Encoder
    if kind == "conformer":
        encoder = Conformer(
            reuse=reuse,
            num_mel_bins=NUM_MEL_BINS,
            num_layers=num_layers,
            d_model=D_MODEL,
            num_heads=num_heads,
            ffn_dim=32,
            conv_kernel_size=5,
            positions=positions,
            subsampling=subsampling,
            subsampling_channels=8,
            dropout=dropout,
            causal_convolution=causal_convolution,
            convolution_norm=convolution_norm,
        )
    else:
        encoder = Transformer(
            reuse=reuse,
            num_mel_bins=NUM_MEL_BINS,
            num_layers=num_layers,
            d_model=D_MODEL,
            num_heads=num_heads,
            ffn_dim=32,
            positions=positions,
            subsampling=subsampling,
            subsampling_channels=8,
            dropout=dropout,
        )
    randomise(encoder, seed=seed)
    return encoder.eval()


def randomise(module: nn.Module, *, seed: int = 0) -> None:
    """Draw every parameter and running statistic, so that zeros and ones cannot hide a term.

    Queries and keys come out large enough for attention far from uniform.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, std: float, mean: float = 0.0) -> Tensor:
        return mean + std * torch.randn(like.shape, generator=generator, dtype=like.dtype)

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_scale = name.endswith("norm.weight")
            if is_scale:
                parameter.copy_(normal(parameter, 0.2, 1.0))
            elif parameter.dim() > 1:
                fan_in = parameter[0].numel()
                gain = 2.0 if ".query." in name or ".key." in name else 1.0
                parameter.copy_(normal(parameter, gain * fan_in**-0.5))
            else:
                parameter.copy_(normal(parameter, 0.3))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(normal(buffer, 0.3))
            elif name.endswith("running_var"):
                buffer.copy_(normal(buffer, 0.5).square() + 0.3)


def random_features(lengths: list[int], *, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Features (B, T, F), padding included at random, and their lengths (B,)."""
    generator = torch.Generator().manual_seed(seed)
    features_BTF = torch.randn(len(lengths), max(lengths), NUM_MEL_BINS, generator=generator)
    return features_BTF, torch.tensor(lengths)
