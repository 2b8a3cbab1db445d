"""Speed perturbation (Ko et al. 2015): the same words at another tempo and pitch.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchaudio.transforms import SpeedPerturbation

from asr.types import InputError


class SpeedPerturb(nn.Module):
    """Plays a batch at one of ``factors``, drawn anew for every batch; training only.

    A factor above 1 is faster and shorter. Draws from torch's generator.
    """

    def __init__(self, *, factors: Sequence[float], sample_rate_hz: int = 16000) -> None:
        super().__init__()
        if not factors or min(factors) <= 0:
            raise InputError(
                f"features.speed.factors: {list(factors)}; one or more numbers above 0 allowed"
            )
        self.perturb = SpeedPerturbation(sample_rate_hz, list(factors))

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, N') and their lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        waveforms_BN, new_lengths_B = self.perturb(waveforms_BN, lengths_B)
        return waveforms_BN, new_lengths_B.to(lengths_B).clamp(1, waveforms_BN.shape[1])
