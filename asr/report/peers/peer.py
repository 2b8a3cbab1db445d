"""What every encoder of another library looks like to us.

Shape legend: B batch, T frames, F mel bins, D model width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast, get_args

import torch
from torch import Tensor, nn

from asr.nn.subsampling import ConvSubsampling, SubsamplingKind
from asr.report.peers.size import PeerSize
from asr.types import EncoderOutput


class Peer(nn.Module, ABC):
    """Features (B, T, F) and their lengths to frames (B, T / factor, D), called as our encoders."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__()
        self.num_mel_bins = size.num_mel_bins
        self.d_model = size.d_model

    @abstractmethod
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """(B, T, F) without padding to (B, T / factor, D)."""

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
