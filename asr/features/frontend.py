"""The frontend: augmentation, log-mel features, normalisation and SpecAugment in one module.

Shape legend: B batch, N samples, T frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from asr.errors import InputError
from asr.features import shapes
from asr.features.augment import RandomSilence, SpeedPerturb, WhiteNoise
from asr.features.fbank import LogMel
from asr.features.normalize import RunningNorm, UtteranceNorm
from asr.features.specaugment import SpecAugment

_LENGTHENING = (SpeedPerturb, RandomSilence)


class Frontend(nn.Module):
    """Log-mel features, then normalisation.

    In training, waveforms first get speed, silence and noise, in this order; SpecAugment comes
    last. ``augment`` is the user's own module and runs after the other augmentations of waveforms:
    it maps waveforms (B, N) and lengths (B,) to the same kinds, and must change nothing outside
    training mode.

    Raises:
        InputError: the normalisation has another number of mel bins than the features.
    """

    def __init__(
        self,
        *,
        fbank: LogMel,
        normalize: UtteranceNorm | RunningNorm | None = None,
        specaugment: SpecAugment | None = None,
        speed: SpeedPerturb | None = None,
        silence: RandomSilence | None = None,
        noise: WhiteNoise | None = None,
        augment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if isinstance(normalize, RunningNorm) and len(normalize.mean_F) != fbank.num_mel_bins:
            raise InputError(
                f"features.normalize.num_mel_bins={len(normalize.mean_F)}: allowed: that of "
                f"features.fbank.num_mel_bins={fbank.num_mel_bins}"
            )
        self.augmentations = nn.ModuleList(
            part for part in (speed, silence, noise, augment) if part is not None
        )
        self.fbank = fbank
        self.normalize = normalize
        self.specaugment = specaugment
        self.sample_rate_hz = fbank.sample_rate_hz
        self.num_mel_bins = fbank.num_mel_bins
        self.frame_shift_ms = fbank.frame_shift_ms

    def slowest_s(self, duration_s: float) -> float:
        """Return the seconds that ``duration_s`` seconds last at training's lowest speed."""
        for part in self.augmentations:
            if isinstance(part, SpeedPerturb):
                duration_s = part.slowest_s(duration_s)
        return duration_s

    @contextmanager
    def at_longest(self) -> Iterator[None]:
        """Make training lengthen every utterance to the maximum, to test memory."""
        parts = [part for part in self.augmentations if isinstance(part, _LENGTHENING)]
        for part in parts:
            part.at_longest = True
        try:
            yield
        finally:
            for part in parts:
                part.at_longest = False

    def forward(
        self, waveforms_BN: Tensor, lengths_B: Tensor, num_copies: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return features (B, T, F) float32 and frames of each utterance; padding is zero.

        ``num_copies`` repeats the batch (num_copies * B, T, F). Copies differ only in the masks of
        SpecAugment. In training on CUDA, waveforms and features are padded to a few lengths. All
        is computed in float32, under autocast too.
        """
        with torch.autocast(waveforms_BN.device.type, enabled=False):
            return self._features(waveforms_BN.float(), lengths_B, num_copies)

    def _features(
        self, waveforms_BN: Tensor, lengths_B: Tensor, num_copies: int
    ) -> tuple[Tensor, Tensor]:
        has_few_lengths = self.training and shapes.is_planned_by_shape(waveforms_BN)
        if has_few_lengths:
            waveforms_BN = self._padded(waveforms_BN)
        for augment in self.augmentations:
            waveforms_BN, lengths_B = augment(waveforms_BN, lengths_B)
        features_BTF, lengths_B = self.fbank(waveforms_BN, lengths_B)
        if self.normalize is not None:
            features_BTF = self.normalize(features_BTF, lengths_B)
        if has_few_lengths:  # silence and speed change lengths
            num_frames = features_BTF.shape[1]
            missing = shapes.padded_length(num_frames) - num_frames
            features_BTF = pad(features_BTF, (0, 0, 0, missing))
        if self.specaugment is not None:
            features_BTF = self.specaugment(features_BTF, lengths_B, num_copies)
        elif num_copies > 1:
            features_BTF = features_BTF.repeat(num_copies, 1, 1)
        return features_BTF, lengths_B.repeat(num_copies)

    def _padded(self, waveforms_BN: Tensor) -> Tensor:
        """Pad to one of a few numbers of whole frames."""
        shift = round(self.sample_rate_hz * self.frame_shift_ms / 1000)
        num_samples = waveforms_BN.shape[1]
        most = shapes.padded_length(-(-num_samples // shift)) * shift
        return pad(waveforms_BN, (0, most - num_samples))
