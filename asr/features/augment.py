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


SilenceSeconds = Annotated[float, Range(0, 60)]
_CUT_FRAME_S = 0.02  # length of audio whose energy decides on a cut


@in_ranges("features.silence")
class RandomSilence(nn.Module):
    """Random silence before, within and after an utterance; training only.

    Lengths are drawn between zero and ``max_lead_s``, ``max_middle_s`` and ``max_tail_s`` seconds.
    Silence within an utterance is put at the quietest point of its middle half. Each utterance
    gets silence with ``probability``. Silence is zeros, or white noise of a level drawn between
    the two values of ``noise_db``, in dB of full scale. Draws come from the generator of the
    waveforms' device. While ``at_longest`` is set, every utterance gets the full length.
    """

    def __init__(
        self,
        *,
        max_lead_s: SilenceSeconds,
        max_tail_s: SilenceSeconds,
        max_middle_s: SilenceSeconds = 0.0,
        noise_db: Sequence[Decibels] | None = None,
        probability: Share = 1.0,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
    ) -> None:
        super().__init__()
        if noise_db is not None and (len(noise_db) != 2 or noise_db[0] > noise_db[1]):
            raise InputError(
                f"features.silence.noise_db={list(noise_db)}; null or two levels that rise allowed"
            )
        self.probability = probability
        self.noise_db = noise_db
        self.max_lead = round(max_lead_s * sample_rate_hz)
        self.max_middle = round(max_middle_s * sample_rate_hz)
        self.max_tail = round(max_tail_s * sample_rate_hz)
        self.frame = max(1, round(_CUT_FRAME_S * sample_rate_hz))
        self.at_longest = False

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return longer waveforms (B, N') and lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        lead_B, middle_B, tail_B = self._draw(waveforms_BN)
        lengthened_B = lengths_B + lead_B + middle_B + tail_B
        num_samples = waveforms_BN.shape[1]
        total = num_samples + int((lengthened_B - lengths_B).max())
        index_N = torch.arange(total, device=waveforms_BN.device)
        source_BN = index_N - lead_B.unsqueeze(1)
        is_speech_BN = source_BN >= 0
        if self.max_middle:
            cut_B1 = _quietest(waveforms_BN, lengths_B, self.frame).unsqueeze(1)
            middle_B1 = middle_B.unsqueeze(1)
            is_behind_BN = source_BN >= cut_B1 + middle_B1
            is_speech_BN &= (source_BN < cut_B1) | is_behind_BN
            source_BN = source_BN - middle_B1 * is_behind_BN
        is_speech_BN &= source_BN < lengths_B.unsqueeze(1)
        moved_BN = waveforms_BN.gather(1, source_BN.clamp(0, num_samples - 1)) * is_speech_BN
        if self.noise_db is not None:
            low_db, high_db = self.noise_db
            level_db_B1 = low_db + (high_db - low_db) * torch.rand_like(moved_BN[:, :1])
            noise_BN = torch.randn_like(moved_BN) * 10 ** (level_db_B1 / 20)
            is_padding_BN = index_N >= lengthened_B.unsqueeze(1)
            moved_BN = torch.where(is_speech_BN | is_padding_BN, moved_BN, noise_BN)
        return moved_BN, lengthened_B

    def _draw(self, waveforms_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw samples (B,) of silence before, within and after each utterance."""
        batch, device = len(waveforms_BN), waveforms_BN.device

        def lengths(most: int) -> Tensor:
            return (torch.rand(batch, device=device) * (most + 1)).long().clamp_max(most)

        lead_B, tail_B = lengths(self.max_lead), lengths(self.max_tail)
        is_padded_B = torch.ones_like(lead_B)
        if self.probability < 1:
            is_padded_B = (torch.rand(batch, device=device) < self.probability).long()
        middle_B = lengths(self.max_middle) if self.max_middle else torch.zeros_like(lead_B)
        if self.at_longest:
            return (
                torch.full_like(lead_B, self.max_lead),
                torch.full_like(lead_B, self.max_middle),
                torch.full_like(lead_B, self.max_tail),
            )
        return lead_B * is_padded_B, middle_B * is_padded_B, tail_B * is_padded_B


def _quietest(waveforms_BN: Tensor, lengths_B: Tensor, frame: int) -> Tensor:
    """Find the sample (B,) in each utterance's middle half around which it is quietest.

    Energies are over ``frame`` samples; an utterance of fewer than four frames is cut in half.
    """
    num_frames = waveforms_BN.shape[1] // frame
    if num_frames < 4:
        return lengths_B // 2
    whole_BN = waveforms_BN[:, : num_frames * frame]
    energy_BF = whole_BN.reshape(len(whole_BN), num_frames, frame).square().sum(2)
    frames_B1 = (lengths_B // frame).unsqueeze(1)
    index_F = torch.arange(num_frames, device=energy_BF.device)
    outside_BF = (index_F < frames_B1 // 4) | (index_F >= frames_B1 - frames_B1 // 4)
    quietest_B = energy_BF.masked_fill(outside_BF, torch.inf).argmin(1) * frame + frame // 2
    return torch.where(frames_B1.squeeze(1) < 4, lengths_B // 2, quietest_B)


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
