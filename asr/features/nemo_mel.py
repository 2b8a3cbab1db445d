"""Features of NeMo's models: log-mel energies and their normalisation.

They equal those of NeMo's ``AudioToMelSpectrogramPreprocessor`` and transformers'
``ParakeetFeatureExtractor``, for models imported from there.

Shape legend: B batch, N samples, T frames, K frequencies, F mel bins.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from asr.features.fbank import PREEMPHASIS, LogMel
from asr.features.normalize import UtteranceNorm
from asr.ranges import Range, Share, in_ranges

_ADDED = 2.0**-24  # added to every energy, so that silence has a logarithm
_EPSILON = 1e-5  # added to every standard deviation
_MEL_HZ = 200 / 3  # width of a mel on Slaney's scale below the break
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_STEP = np.log(6.4) / 27  # in the logarithm of Hz per mel, above the break


@in_ranges("features.fbank")
class NemoMel(LogMel):
    """Log-mel features as computed by NeMo.

    Differences from `LogMel`: pre-emphasis runs over the whole waveform, frames keep their mean,
    frame t is centred on sample ``t * shift``, ``N`` samples give ``N // shift`` frames, filters
    are Slaney's (linear below 1 kHz, of equal area), and 2**-24 is added to every energy. Audio
    shorter than one shift gives one frame; NeMo gives none.
    """

    transform_dtype = torch.float64  # in float32, faint bins are off by 1e-4 after normalisation

    def __init__(
        self,
        *,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
        num_mel_bins: Annotated[int, Range(1, 512)] = 80,
        window_ms: Annotated[float, Range(1, 250)] = 25.0,
        shift_ms: Annotated[float, Range(1, 250)] = 10.0,
        dither: Share = 1e-5,
        low_hz: Annotated[float, Range(0, 96_000)] = 0.0,
        high_hz: Annotated[float, Range(0, 96_000)] | None = None,
    ) -> None:
        super().__init__(
            sample_rate_hz=sample_rate_hz,
            num_mel_bins=num_mel_bins,
            window_ms=window_ms,
            shift_ms=shift_ms,
            dither=dither,
            low_hz=low_hz,
            high_hz=high_hz,
        )

    def triangles(self, spectrum_size: int, low_hz: float, high_hz: float) -> Tensor:
        """Return triangles (K, F) of Slaney's Auditory Toolbox, each with the same area."""
        frequencies_K1 = np.linspace(0, self.sample_rate_hz / 2, spectrum_size // 2 + 1)[:, None]
        corners = _hz(np.linspace(_mel(low_hz), _mel(high_hz), self.num_mel_bins + 2))
        left_F, centre_F, right_F = corners[:-2], corners[1:-1], corners[2:]
        up_KF = (frequencies_K1 - left_F) / (centre_F - left_F)
        down_KF = (right_F - frequencies_K1) / (right_F - centre_F)
        filters_KF = np.minimum(up_KF, down_KF).clip(0) * (2 / (right_F - left_F))
        return torch.from_numpy(filters_KF.astype(np.float32))

    def num_frames(self, num_samples_B: Tensor) -> Tensor:
        """Return the number of frames of ``num_samples_B`` samples, at least one."""
        return (num_samples_B // self.shift_size).clamp_min(1)

    def compress(self, energies_BTF: Tensor) -> Tensor:
        """Return the logarithms of energies."""
        return (energies_BTF + _ADDED).log()

    def log_mel(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
        """Return log-mel energies (B, T, F) of float32 waveforms."""
        waveforms_BN = self.dithered(waveforms_BN)
        first_B1, before_BN = waveforms_BN[:, :1], waveforms_BN[:, :-1]
        emphasised_BN = torch.cat(
            [first_B1, torch.sub(waveforms_BN[:, 1:], before_BN, alpha=PREEMPHASIS)], 1
        )
        samples_N = torch.arange(waveforms_BN.shape[1], device=waveforms_BN.device)
        emphasised_BN = emphasised_BN.masked_fill(samples_N >= lengths_B[:, None], 0.0)
        before, spectrum_size = self.window_size // 2, self.window.numel()
        if torch.compiler.is_exporting():
            behind = self.window_size - before
            padded_BN = functional.pad(emphasised_BN, (before, behind - self.shift_size))
            padded_BN = functional.pad(padded_BN, (0, self.shift_size))
            return self.energies_by_convolution(padded_BN[:, : -self.shift_size])
        padded_BN = functional.pad(emphasised_BN, (before, spectrum_size))
        num_frames = max(1, waveforms_BN.shape[1] // self.shift_size)
        frames_BTS = padded_BN.unfold(1, spectrum_size, self.shift_size)[:, :num_frames]
        return self.energies(frames_BTS)


@in_ranges("features.normalize")
class NemoNorm(UtteranceNorm):
    """Normalisation of each bin per utterance to mean 0 and standard deviation 1, as in NeMo.

    The deviation is divided by frames less one (the sample deviation), and 1e-5 is added to it. A
    single frame becomes 0. Padding becomes 0.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the normalised features (B, T, F); ``lengths_B`` counts frames."""
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT1 = (frames_T >= lengths_B[:, None])[:, :, None]
        num_frames_B11 = lengths_B[:, None, None]
        total_B1F = features_BTF.masked_fill(padding_mask_BT1, 0.0).sum(dim=1, keepdim=True)
        centred_BTF = (features_BTF - total_B1F / num_frames_B11).masked_fill(padding_mask_BT1, 0.0)
        squares_B1F = centred_BTF.square().sum(dim=1, keepdim=True)
        deviation_B1F = (squares_B1F / (num_frames_B11 - 1).clamp_min(1)).sqrt()
        return centred_BTF / (deviation_B1F + _EPSILON)


def _mel(frequency_hz: float) -> float:
    """Convert Hz to Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    if frequency_hz < _BREAK_HZ:
        return frequency_hz / _MEL_HZ
    return float(_BREAK_MEL + np.log(frequency_hz / _BREAK_HZ) / _STEP)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert Slaney's mel scale to Hz."""
    above = _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, _MEL_HZ * mel, above)
