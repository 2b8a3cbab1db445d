"""Speed perturbation (Ko et al. 2015): the same words at another tempo and pitch.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from asr.types import InputError

_PARTS = 100  # factors are whole hundredths, so that the resampling filter stays short


class SpeedPerturb(nn.Module):
    """Plays a batch at one of ``factors``, drawn anew for every batch; training only.

    A factor above 1 is faster and shorter; factors are rounded to hundredths. Draws from torch's
    generator.
    """

    def __init__(self, *, factors: Sequence[float]) -> None:
        super().__init__()
        self.hundredths = [round(factor * _PARTS) for factor in factors]
        if not self.hundredths or min(self.hundredths) < 1:
            raise InputError(
                f"features.speed.factors: {list(factors)}; one or more of 0.01 or above allowed"
            )

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, N') and their lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        speed = self.hundredths[int(torch.randint(len(self.hundredths), ()))]
        if speed == _PARTS:
            return waveforms_BN, lengths_B
        played_BN: Tensor = resample(waveforms_BN, speed, _PARTS)
        return played_BN, (lengths_B * _PARTS / speed).ceil().to(lengths_B)
