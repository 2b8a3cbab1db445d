"""Speed perturbation (Ko et al. 2015): the same words at another tempo and pitch.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from asr.ranges import Range, in_ranges
from asr.types import InputError

_PARTS = 100  # factors are whole hundredths, so that the resampling filter stays short


@in_ranges("features.speed")
class SpeedPerturb(nn.Module):
    """Plays every utterance at one of ``factors``, drawn anew each time; training only.

    A factor above 1 is faster and shorter; factors are rounded to hundredths. Draws from torch's
    generator. While ``at_longest`` is set every utterance gets the lowest factor.
    """

    def __init__(self, *, factors: Sequence[Annotated[float, Range(0.1, 10)]]) -> None:
        super().__init__()
        self.hundredths = [round(factor * _PARTS) for factor in factors]
        if not self.hundredths:
            raise InputError("features.speed.factors: []; one or more allowed")
        self.at_longest = False

    def slowest_s(self, duration_s: float) -> float:
        """What the lowest factor makes of ``duration_s`` seconds."""
        return duration_s * _PARTS / min(self.hundredths)

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, N') and their lengths in samples; unchanged outside training.

        Utterances of one factor are resampled together.
        """
        if not self.training:
            return waveforms_BN, lengths_B
        speeds_B = self._draw(len(waveforms_BN))
        played = {
            speed: resample(waveforms_BN[speeds_B == speed], speed, _PARTS)
            for speed in set(speeds_B.tolist())
        }
        longest = max(played_bN.shape[1] for played_bN in played.values())
        played_BN = waveforms_BN.new_zeros(len(waveforms_BN), longest)
        for speed, played_bN in played.items():
            played_BN[speeds_B == speed, : played_bN.shape[1]] = played_bN
        return played_BN, -(-lengths_B * _PARTS // speeds_B.to(lengths_B))  # rounded up

    def _draw(self, num_utterances: int) -> Tensor:
        """Hundredths (B,) on the CPU."""
        speeds = torch.tensor(self.hundredths)
        drawn_B = torch.randint(len(speeds), (num_utterances,))
        return speeds.min().expand(num_utterances) if self.at_longest else speeds[drawn_B]
