"""torchaudio's Conformer: no position encoding, fused attention.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor
from torchaudio.models import Conformer

from asr.measure.peers.peer import PeerSize, SubsampledPeer


class TorchaudioConformer(SubsampledPeer):
    """torchaudio's layers after our subsampling."""

    def __init__(self, size: PeerSize) -> None:
        super().__init__(size)
        self.layers = Conformer(
            input_dim=size.d_model,
            num_heads=size.num_heads,
            ffn_dim=size.ffn_dim,
            num_layers=size.num_layers,
            depthwise_conv_kernel_size=size.conv_kernel_size,
            dropout=size.dropout,
        )

    def encode(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return (B, T, D) for (B, T, D)."""
        frames_BTD: Tensor = self.layers(x_BTD, lengths_B)[0]
        return frames_BTD
