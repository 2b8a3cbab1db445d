"""Audio for comparing programs: utterances of a manifest, files, or noise.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.data.loader import evaluation_batches
from asr.data.manifest import Utterances
from asr.model.package import ModelPackage

PIECE_S = 30.0
NOISE_S = (7.3, 3.1, 0.4)


@dataclass(frozen=True, slots=True)
class Sample:
    """Waveforms for comparing programs; ``texts`` are normalised transcripts, or None.

    ``split`` is the name under which their rates are shown. Without ``is_speech`` words are not
    compared: what a model writes for noise depends on rounding.
    """

    split: str
    waveforms_BN: Tensor
    lengths_B: Tensor
    texts: tuple[str, ...] | None = None
    is_speech: bool = True


def samples_of_utterances(
    package: ModelPackage, utterances: Utterances, split: str
) -> Iterator[Sample]:
    """Yield batches of a manifest; audio that cannot be read is named in the log and left out."""
    for batch in evaluation_batches(package, utterances):
        yield Sample(split, batch.waveforms_BN, batch.waveform_lengths_B, batch.texts)


def samples_of_audio(path: Path, sample_rate_hz: int) -> Iterator[Sample]:
    """Yield a file of any rate and length, in pieces of at most ``PIECE_S`` seconds.

    Raises:
        InputError: it cannot be read as audio.
    """
    waveform_N = torch.from_numpy(resample(read_audio(path), sample_rate_hz).samples)
    size = round(PIECE_S * sample_rate_hz)
    for start in range(0, len(waveform_N), size):
        piece_N = waveform_N[start : start + size]
        yield Sample("audio", piece_N.unsqueeze(0), torch.tensor([len(piece_N)]))


def samples_of_noise(sample_rate_hz: int) -> Iterator[Sample]:
    """Yield one batch of noise with unequal lengths."""
    lengths_B = torch.tensor([round(length_s * sample_rate_hz) for length_s in NOISE_S])
    generator = torch.Generator().manual_seed(0)
    waveforms_BN = 0.1 * torch.randn(len(NOISE_S), int(lengths_B.max()), generator=generator)
    is_padding_BN = torch.arange(waveforms_BN.shape[1]) >= lengths_B.unsqueeze(1)
    waveforms_BN = waveforms_BN.masked_fill(is_padding_BN, 0.0)
    yield Sample("noise", waveforms_BN, lengths_B, is_speech=False)
