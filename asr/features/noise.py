"""White noise at a random level.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.ranges import Decibels, Share, in_ranges
from asr.types import InputError


@in_ranges("features.noise")
class WhiteNoise(nn.Module):
    """Adds Gaussian noise at a signal-to-noise ratio drawn for every utterance; training only.

    An utterance gets noise with ``probability``. The ratio is uniform between ``low_snr_db`` and
    ``high_snr_db``, of mean powers over the whole utterance. Padding stays zero. Draws from the
    generator of the waveforms' device.
    """

    def __init__(
        self, *, low_snr_db: Decibels, high_snr_db: Decibels, probability: Share = 1.0
    ) -> None:
        super().__init__()
        if low_snr_db > high_snr_db:
            raise InputError(
                f"features.noise.low_snr_db, high_snr_db: {low_snr_db:g}, {high_snr_db:g} must rise"
            )
        self.low_snr_db = low_snr_db
        self.high_snr_db = high_snr_db
        self.probability = probability

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy waveforms (B, N) and their lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        batch, num_samples = waveforms_BN.shape
        span_db = self.high_snr_db - self.low_snr_db
        snr_db_B = self.low_snr_db + span_db * torch.rand(batch, device=waveforms_BN.device)
        power_B = waveforms_BN.square().sum(1) / lengths_B
        scale_B = (power_B * 10 ** (-snr_db_B / 10)).sqrt()
        if self.probability < 1:
            scale_B = scale_B * (torch.rand(batch, device=scale_B.device) < self.probability)
        inside_BN = torch.arange(num_samples, device=lengths_B.device) < lengths_B.unsqueeze(1)
        noise_BN = torch.randn_like(waveforms_BN) * scale_B.unsqueeze(1)
        return waveforms_BN + noise_BN * inside_BN, lengths_B
