"""Augmentation of waveforms: speed, silence at both ends, white noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from asr.errors import InputError
from asr.ranges import Decibels, Range, Share, in_ranges

_PARTS = 100  # factors are whole hundredths, so that the resampling filter stays short


@in_ranges("features.speed")
class SpeedPerturb(nn.Module):
    """Speed perturbation by one of ``factors``, drawn anew for each utterance; training only.

    A factor above 1 makes speech faster and shorter. Factors are rounded to hundredths. Draws come
    from torch's generator. While ``at_longest`` is set, every utterance gets the lowest factor.
    """

    def __init__(self, *, factors: Sequence[Annotated[float, Range(0.1, 10)]]) -> None:
        super().__init__()
        self.hundredths = [round(factor * _PARTS) for factor in factors]
        if not self.hundredths:
            raise InputError("features.speed.factors: []; one or more allowed")
        self.at_longest = False

    def slowest_s(self, duration_s: float) -> float:
        """Return the seconds that ``duration_s`` seconds last at the lowest factor."""
        return duration_s * _PARTS / min(self.hundredths)

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return waveforms (B, N') and their lengths in samples; unchanged outside training.

        Utterances with the same factor are resampled together.
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
        """Return factors in hundredths (B,), on the CPU."""
        speeds = torch.tensor(self.hundredths)
        drawn_B = torch.randint(len(speeds), (num_utterances,))
        return speeds.min().expand(num_utterances) if self.at_longest else speeds[drawn_B]


Pause = Annotated[float, Range(0, 60)]


@in_ranges("features.silence")
class RandomSilence(nn.Module):
    """Random zeros around an utterance: up to ``max_lead_s`` before, up to ``max_tail_s`` after.

    Each utterance gets them with ``probability``; training only. Draws come from the generator of
    the waveforms' device. While ``at_longest`` is set, every utterance gets the full length.
    """

    def __init__(
        self,
        *,
        max_lead_s: Pause,
        max_tail_s: Pause,
        probability: Share = 1.0,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
    ) -> None:
        super().__init__()
        self.probability = probability
        self.max_lead = round(max_lead_s * sample_rate_hz)
        self.max_tail = round(max_tail_s * sample_rate_hz)
        self.at_longest = False

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return longer waveforms (B, N') and lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        batch, num_samples = waveforms_BN.shape
        lead_B, tail_B = (
            (torch.rand(batch, device=waveforms_BN.device) * (most + 1)).long().clamp_max(most)
            for most in (self.max_lead, self.max_tail)
        )
        if self.probability < 1:
            is_padded_B = torch.rand(batch, device=waveforms_BN.device) < self.probability
            lead_B, tail_B = lead_B * is_padded_B, tail_B * is_padded_B
        if self.at_longest:
            lead_B, tail_B = lead_B.clamp_min(self.max_lead), tail_B.clamp_min(self.max_tail)
        total = num_samples + int((lead_B + tail_B).max())
        source_BN = torch.arange(total, device=waveforms_BN.device) - lead_B.unsqueeze(1)
        inside_BN = (source_BN >= 0) & (source_BN < num_samples)
        moved_BN = waveforms_BN.gather(1, source_BN.clamp(0, num_samples - 1))
        return moved_BN * inside_BN, lengths_B + lead_B + tail_B


@in_ranges("features.noise")
class WhiteNoise(nn.Module):
    """Gaussian noise at a signal-to-noise ratio drawn for each utterance; training only.

    Each utterance gets noise with ``probability``. The ratio is uniform between ``low_snr_db`` and
    ``high_snr_db`` and compares mean powers over the whole utterance. Padding stays zero. Draws
    come from the generator of the waveforms' device.
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
        """Return noisy waveforms (B, N) and lengths in samples; unchanged outside training."""
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
