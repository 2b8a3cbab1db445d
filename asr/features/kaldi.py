"""Log-mel filter bank energies as computed by Kaldi (Povey et al. 2011).

Shape legend: K frequencies, F mel bins.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.features.fbank import LogMel
from asr.ranges import Range, Share, in_ranges

_FULL_SCALE = 2.0**15  # Kaldi reads samples as 16 bit integers
_MEL_SCALE, _MEL_BREAK_HZ = 1127.0, 700.0


@in_ranges("features.fbank")
class KaldiFbank(LogMel):
    """The features of Kaldi's ``compute-fbank-feats``, with the options of most recipes.

    Differences from `LogMel`: the window is Povey's, the sides of the triangles are straight over
    mel, the highest frequency of the spectrum is left out, samples count in units of 16 bits,
    energies are at least the float32 epsilon, and windows and shifts are rounded down to whole
    samples. Edges are snipped (``snip_edges``), there is no extra energy bin (``use_energy``
    false), and ``dither`` is 0 by default and acts only in training. A ``high_hz`` of 0 or below
    counts down from half the sample rate. Audio shorter than a window is padded to one frame; Kaldi
    gives no frame.
    """

    floor = float(np.finfo(np.float32).eps)
    window_exponent = 0.85
    transform_dtype = torch.float64  # torch's float32 transform is off by 3e-3 in faint bins

    def __init__(
        self,
        *,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
        num_mel_bins: Annotated[int, Range(1, 512)] = 80,
        window_ms: Annotated[float, Range(1, 250)] = 25.0,
        shift_ms: Annotated[float, Range(1, 250)] = 10.0,
        dither: Share = 0.0,
        low_hz: Annotated[float, Range(0, 96_000)] = 20.0,
        high_hz: Annotated[float, Range(-96_000, 96_000)] = 0.0,
    ) -> None:
        super().__init__(
            sample_rate_hz=sample_rate_hz,
            num_mel_bins=num_mel_bins,
            window_ms=window_ms,
            shift_ms=shift_ms,
            dither=dither,
            low_hz=low_hz,
            high_hz=high_hz if high_hz > 0 else sample_rate_hz / 2 + high_hz,
        )

    def num_samples(self, duration_ms: float) -> int:
        """Return the samples of a window or shift of ``duration_ms``, rounded down."""
        return int(duration_ms * self.sample_rate_hz / 1000)

    def triangles(self, spectrum_size: int, low_hz: float, high_hz: float) -> Tensor:
        """Return triangles (K, F) over mel, scaled so that energies are in units of 16 bits."""
        frequencies_K = np.arange(spectrum_size // 2 + 1) * self.sample_rate_hz / spectrum_size
        mel_K1 = _mel(frequencies_K)[:, None]
        corners = np.linspace(_mel(low_hz), _mel(high_hz), self.num_mel_bins + 2)
        left_F, centre_F, right_F = corners[:-2], corners[1:-1], corners[2:]
        up_KF = (mel_K1 - left_F) / (centre_F - left_F)
        down_KF = (right_F - mel_K1) / (right_F - centre_F)
        filters_KF = np.minimum(up_KF, down_KF).clip(0)
        filters_KF[-1] = 0.0
        return torch.from_numpy((_FULL_SCALE**2 * filters_KF).astype(np.float32))


def _mel(frequency_hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = _MEL_SCALE * np.log1p(
        np.asarray(frequency_hz, dtype=np.float64) / _MEL_BREAK_HZ
    )
    return mel
