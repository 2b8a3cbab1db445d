"""Feature normalisation over an utterance.

Shape legend: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from asr.ranges import Range, in_ranges

_VARIANCE_FLOOR = 1e-5  # keeps a bin that never moves, such as digital silence, at zero


@in_ranges("features.normalize")
class UtteranceNorm(nn.Module):
    """Brings every bin of every utterance to mean 0, with ``variance`` to standard deviation 1.

    Statistics are over the valid frames within ``range_db`` decibels of the utterance's loudest
    one, so silence around and between the words does not shift them, and lower bins are raised to
    what white noise at the end of the range has, so all deeper silence looks the same. None takes
    every frame as it is. The features must be log energies. Padding becomes 0.

    Raises:
        InputError: ``range_db`` is not a number above 0, up to 1000.
    """

    def __init__(
        self,
        *,
        variance: bool,
        range_db: Annotated[float, Range(0, 1000, above=True)] | None = None,
    ) -> None:
        super().__init__()
        self.variance = variance
        self.range_db = range_db

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """The normalised features (B, T, F); ``lengths_B`` counts frames."""
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT = frames_T >= lengths_B[:, None]
        left_out_BT1, num_counted_B11 = padding_mask_BT[:, :, None], lengths_B[:, None, None]
        if self.range_db is not None:
            energy_BT = features_BTF.logsumexp(-1).masked_fill(padding_mask_BT, -torch.inf)
            least_B1 = energy_BT.amax(dim=1, keepdim=True) - self.range_db * math.log(10) / 10
            left_out_BT1 = (padding_mask_BT | (energy_BT < least_B1))[:, :, None]
            num_counted_B11 = (~left_out_BT1).sum(dim=1, keepdim=True).clamp_min(1)
            floor_B11 = least_B1[:, :, None] - math.log(features_BTF.shape[-1])
            features_BTF = torch.maximum(features_BTF, floor_B11)
        total_B1F = features_BTF.masked_fill(left_out_BT1, 0.0).sum(dim=1, keepdim=True)
        centred_BTF = features_BTF - total_B1F / num_counted_B11
        centred_BTF = centred_BTF.masked_fill(padding_mask_BT[:, :, None], 0.0)
        if not self.variance:
            return centred_BTF
        counted_BTF = centred_BTF.masked_fill(left_out_BT1, 0.0)
        variance_B1F = counted_BTF.square().sum(dim=1, keepdim=True) / num_counted_B11
        return centred_BTF * (variance_B1F + _VARIANCE_FLOOR).rsqrt()
