"""Feature normalisation over an utterance.

Shape legend: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_VARIANCE_FLOOR = 1e-5  # keeps a bin that never moves, such as digital silence, at zero


class UtteranceNorm(nn.Module):
    """Brings every bin of every utterance to mean 0, with ``variance`` to standard deviation 1.

    Statistics are over valid frames alone, and padding becomes 0.
    """

    def __init__(self, *, variance: bool) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """The normalised features (B, T, F); ``lengths_B`` counts frames."""
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT1 = (frames_T >= lengths_B[:, None])[:, :, None]
        num_frames_B11 = lengths_B[:, None, None]
        total_B1F = features_BTF.masked_fill(padding_mask_BT1, 0.0).sum(dim=1, keepdim=True)
        centred_BTF = features_BTF - total_B1F / num_frames_B11
        centred_BTF = centred_BTF.masked_fill(padding_mask_BT1, 0.0)
        if not self.variance:
            return centred_BTF
        variance_B1F = centred_BTF.square().sum(dim=1, keepdim=True) / num_frames_B11
        return centred_BTF * (variance_B1F + _VARIANCE_FLOOR).rsqrt()
