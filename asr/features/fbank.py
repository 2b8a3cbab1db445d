"""Log-mel filter bank energies.

Shape legend: B batch, N samples, T frames, W samples of a window, S samples of a window padded with
zeros to a power of two, K frequencies, F mel bins.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from asr.errors import InputError
from asr.ranges import Range, Share, in_ranges

PREEMPHASIS = 0.97
_SECTION_FRAMES = 512  # frames of a batch that a CPU transforms at once: they fit in its cache
_FLOOR = 1e-10  # energy, below the rounding noise of 16 bit audio


@in_ranges("features.fbank")
class LogMel(nn.Module):
    """Log-mel features of waveforms.

    Each frame has its mean subtracted, is pre-emphasised by 0.97, weighted by a symmetric Hann
    window and transformed to a power spectrum. Triangular filters sum the spectrum: their corners
    are evenly spaced on the mel scale, their sides are straight over Hz (as in torchaudio's
    ``melscale_fbanks``). Energies are of samples in [-1, 1] and at least 1e-10. Kaldi's energies
    differ by up to 0.1 in some bins; `asr.features.kaldi.KaldiFbank` computes Kaldi's own.

    Edges are not padded: a frame depends only on the samples of its own window, so an utterance has
    the same features alone and in a padded batch. ``dither`` is the standard deviation of noise
    added in training mode.
    """

    floor = _FLOOR
    """Smallest energy."""
    window_exponent = 1.0
    """Exponent of the Hann window."""
    transform_dtype = torch.float32
    """Type of the Fourier transform; an exported graph always has float32."""

    window: Tensor
    mel_filters: Tensor

    def __init__(
        self,
        *,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
        num_mel_bins: Annotated[int, Range(1, 512)] = 80,
        window_ms: Annotated[float, Range(1, 250)] = 25.0,
        shift_ms: Annotated[float, Range(1, 250)] = 10.0,
        dither: Share = 0.0,
        low_hz: Annotated[float, Range(0, 96_000)] = 20.0,
        high_hz: Annotated[float, Range(0, 96_000)] | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.num_mel_bins = num_mel_bins
        self.frame_shift_ms = shift_ms
        self.dither = dither
        self.window_size = self.num_samples(window_ms)
        self.shift_size = self.num_samples(shift_ms)
        if self.window_size < 2:
            raise InputError(f"features.fbank.window_ms: {window_ms:g} is shorter than two samples")
        window_W = torch.hann_window(self.window_size, periodic=False).pow(self.window_exponent)
        spectrum_size = 1 << (self.window_size - 1).bit_length()
        window_S = functional.pad(window_W, (0, spectrum_size - self.window_size))
        high_hz = sample_rate_hz / 2 if high_hz is None else high_hz
        if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
            raise InputError(
                f"features.fbank.low_hz, high_hz: {low_hz:g}, {high_hz:g} must rise and stay "
                f"within 0 and half the sample rate, {sample_rate_hz / 2:g}"
            )
        filters_KF = self.triangles(spectrum_size, low_hz, high_hz)
        num_empty = int((filters_KF.amax(dim=0) == 0).sum())
        if num_empty:
            raise InputError(
                f"features.fbank.num_mel_bins: {num_mel_bins} leaves {num_empty} filters between "
                "two frequencies of the spectrum; use fewer, more Hz from low_hz to high_hz, or a "
                "longer features.fbank.window_ms"
            )
        self.register_buffer("window", window_S, persistent=False)
        self.register_buffer("mel_filters", filters_KF, persistent=False)

    def num_samples(self, duration_ms: float) -> int:
        """Return the samples of a window or shift of ``duration_ms``."""
        return round(duration_ms * self.sample_rate_hz / 1000)

    def triangles(self, spectrum_size: int, low_hz: float, high_hz: float) -> Tensor:
        """Return triangles (K, F) with peaks of one, evenly spaced on HTK's mel scale."""
        with warnings.catch_warnings(action="ignore"):
            filters_KF: Tensor = melscale_fbanks(
                spectrum_size // 2 + 1, low_hz, high_hz, self.num_mel_bins, self.sample_rate_hz
            )
        return filters_KF

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, T, F) and frames of each utterance (B,); padding frames are zero.

        ``lengths_B`` counts samples; samples beyond it must be zero. ``N`` samples give ``1 + (N -
        window) // shift`` frames; audio shorter than one window is padded with zeros to one frame.
        """
        features_BTF = self.log_mel(waveforms_BN.float(), lengths_B)
        lengths_B = self.num_frames(lengths_B)
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT = frames_T >= lengths_B[:, None]
        return features_BTF.masked_fill(padding_mask_BT[:, :, None], 0.0), lengths_B

    def num_frames(self, num_samples_B: Tensor) -> Tensor:
        """Return the number of frames of ``num_samples_B`` samples, at least one."""
        whole_shifts_B = (num_samples_B - self.window_size).clamp_min(0) // self.shift_size
        return 1 + whole_shifts_B

    def log_mel(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
        """Return log-mel energies (B, T, F) of float32 waveforms, arbitrary in padding frames."""
        window_size, spectrum_size = self.window_size, self.window.numel()
        waveforms_BN = self.dithered(waveforms_BN)
        larger: Callable[[int, int], int] = torch.sym_max if torch.compiler.is_exporting() else max
        num_samples = larger(waveforms_BN.shape[1], window_size)
        waveforms_BN = functional.pad(
            waveforms_BN, (0, num_samples - waveforms_BN.shape[1] + spectrum_size - window_size)
        )
        # Pre-emphasis runs once for all frames. It needs one sample before each window, but the
        # first sample of a window has weight zero. The mean of a frame becomes (1 - 0.97) times
        # itself.
        before_BN = functional.pad(waveforms_BN[:, :-1], (1, 0))
        emphasised_BN = torch.sub(waveforms_BN, before_BN, alpha=PREEMPHASIS)
        if torch.compiler.is_exporting():
            means_B1T = functional.avg_pool1d(
                waveforms_BN[:, None, :num_samples], window_size, self.shift_size
            )
            return self.energies_by_convolution(emphasised_BN[:, :num_samples], means_B1T)
        means_BT1 = (
            waveforms_BN[:, :num_samples]
            .unfold(1, window_size, self.shift_size)
            .mean(dim=-1, keepdim=True)
        )
        return self.energies(emphasised_BN.unfold(1, spectrum_size, self.shift_size), means_BT1)

    def dithered(self, waveforms_BN: Tensor) -> Tensor:
        """Return waveforms with the noise of ``dither`` in training, else unchanged."""
        if not (self.training and self.dither):
            return waveforms_BN
        return waveforms_BN + self.dither * torch.randn_like(waveforms_BN)

    def compress(self, energies_BTF: Tensor) -> Tensor:
        """Return the logarithms of energies."""
        return energies_BTF.clamp_min(self.floor).log()

    def energies(self, frames_BTS: Tensor, means_BT1: Tensor | None = None) -> Tensor:
        """Return log-mel energies (B, T, F) of pre-emphasised frames, after subtracting
        ``means_BT1``.
        """
        if frames_BTS.device.type != "cpu":
            return self._energies(frames_BTS, means_BT1)
        size = max(1, _SECTION_FRAMES // len(frames_BTS))
        sections = [
            self._energies(
                frames_BTS[:, start : start + size],
                None if means_BT1 is None else means_BT1[:, start : start + size],
            )
            for start in range(0, frames_BTS.shape[1], size)
        ]
        return torch.cat(sections, 1)

    def _energies(self, frames_BTS: Tensor, means_BT1: Tensor | None) -> Tensor:
        if means_BT1 is not None:
            frames_BTS = frames_BTS - (1 - PREEMPHASIS) * means_BT1
        spectrum_BTK = torch.fft.rfft((frames_BTS * self.window).to(self.transform_dtype))
        real_BTK, imag_BTK = spectrum_BTK.real, spectrum_BTK.imag
        power_BTK = torch.addcmul(real_BTK * real_BTK, imag_BTK, imag_BTK)
        return self.compress(power_BTK.float() @ self.mel_filters)

    def energies_by_convolution(
        self, emphasised_BN: Tensor, means_B1T: Tensor | None = None
    ) -> Tensor:
        """Return the same as `energies`, computed by products alone, which every runtime has.

        The window and the Fourier sums are one convolution over time.
        """
        window_W = np.hanning(self.window_size) ** self.window_exponent
        kernels = _fourier_kernels(window_W, self.window.numel())
        spectrum_BET = functional.conv1d(emphasised_BN[:, None, :], kernels, stride=self.shift_size)
        if means_B1T is not None:  # subtract the spectrum of the frame's mean
            spectrum_BET = spectrum_BET - (1 - PREEMPHASIS) * kernels.sum(-1) * means_B1T
        real_BKT, imag_BKT = spectrum_BET.chunk(2, 1)
        power_BTK = (real_BKT.square() + imag_BKT.square()).transpose(1, 2)
        return self.compress(power_BTK @ self.mel_filters)


def _fourier_kernels(window_W: NDArray[np.float64], spectrum_size: int) -> Tensor:
    """Return (2K, 1, W): the windowed cosines, then the windowed sines, of rfft's frequencies.

    They are made with numpy, so that an exported graph holds them as a constant.
    """
    angle_K = 2 * np.pi / spectrum_size * np.arange(spectrum_size // 2 + 1)
    angle_KW = np.outer(angle_K, np.arange(len(window_W)))
    waves_EW = np.concatenate([np.cos(angle_KW), -np.sin(angle_KW)]) * window_W
    return torch.from_numpy(waves_EW.astype(np.float32)).unsqueeze(1)
