"""Does another program compute what the model computes, and write the same words?

Shape legend: B batch, N samples, T frames, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts
from asr.decode.greedy import GreedyDecoder
from asr.metrics.wer import WordErrors, align_words
from asr.model.package import ModelPackage

BATCH_S = 40.0
PIECE_S = 30.0
NOISE_S = (7.3, 3.1, 0.4)

TORCH = "torch fp32"
"""The model as it stands, among the programs that are compared."""

Outputs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Waveforms (B, N) and lengths to log probabilities (B, T, V), lengths, frames (B, T, D)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Waveforms to compare programs on; ``texts`` are normalised transcripts, or None.

    ``split`` is what the rates of such samples stand under. Without ``is_speech`` there are no
    words to compare: what a model writes of noise hangs on rounding.
    """

    split: str
    waveforms_BN: Tensor
    lengths_B: Tensor
    texts: tuple[str, ...] | None = None
    is_speech: bool = True


@dataclass(slots=True)
class Agreement:
    """How far a program is from the model, summed over samples.

    ``errors`` by split against transcripts, ``changed`` against what the model itself writes, one
    each per utterance.
    """

    largest: float = 0.0
    squared_error: float = 0.0
    squared: float = 0.0
    errors: dict[str, list[WordErrors]] = field(default_factory=dict)
    changed: list[WordErrors] = field(default_factory=list)

    @property
    def relative(self) -> float:
        """Root mean square of the error of encoder frames over that of the frames."""
        return float((self.squared_error / self.squared) ** 0.5)

    def add_texts(self, texts: Sequence[str], originals: Sequence[str], sample: Sample) -> None:
        """What was written of the utterances of a sample."""
        pairs = zip(originals, texts, strict=True)
        self.changed += [align_words(original, text)[0] for original, text in pairs]
        if sample.texts is not None:
            pairs = zip(sample.texts, texts, strict=True)
            self.errors.setdefault(sample.split, []).extend(
                align_words(reference, text)[0] for reference, text in pairs
            )

    def add_frames(self, found_SD: Tensor, expected_SD: Tensor) -> None:
        """Valid encoder frames of an utterance."""
        difference_SD = found_SD.double() - expected_SD.double()
        self.largest = max(self.largest, float(difference_SD.abs().max()))
        self.squared_error += float(difference_SD.square().sum())
        self.squared += float(expected_SD.double().square().sum())


@torch.inference_mode()
def agreements(
    package: ModelPackage,
    others: Mapping[str, Outputs],
    samples: Iterable[Sample],
    decoder: GreedyDecoder,
) -> dict[str, Agreement]:
    """Every other program with the model, and under ``TORCH`` the model with itself."""
    model = package.model

    def original(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded = model.encoder(*model.frontend(waveforms_BN, lengths_B))
        return model.head(encoded.frames_BTD), encoded.lengths_B, encoded.frames_BTD

    def written(log_probs_BTV: Tensor, lengths_B: Tensor) -> list[str]:
        hypotheses = decoder(log_probs_BTV, lengths_B)
        return [package.tokenizer.decode(one.token_ids) for one in hypotheses]

    programs = {TORCH: original, **others}
    found = {name: Agreement() for name in programs}
    for sample in samples:
        _, lengths_B, frames_BTD = own = original(sample.waveforms_BN, sample.lengths_B)
        texts = written(*own[:2])
        for name, program in programs.items():
            log_probs_BTV, found_B, found_BTD = program(sample.waveforms_BN, sample.lengths_B)
            assert torch.equal(found_B, lengths_B)
            for row, length in enumerate(lengths_B.tolist()):
                found[name].add_frames(found_BTD[row, :length], frames_BTD[row, :length])
            if sample.is_speech:
                found[name].add_texts(written(log_probs_BTV, lengths_B), texts, sample)
    return found


def samples_of_cuts(package: ModelPackage, cuts: Cuts, split: str) -> Iterator[Sample]:
    """Batches of a manifest; audio that cannot be read is named in the log and left out."""
    loader = ResumableLoader(
        cuts,
        dataset=SpeechDataset(
            tokenizer=package.tokenizer,
            normalizer=package.normalizer,
            sample_rate_hz=package.model.frontend.sample_rate_hz,
        ),
        batching=Batching(max_duration_s=BATCH_S),
        training=False,
    )
    for batch in loader:
        yield Sample(split, batch.waveforms_BN, batch.waveform_lengths_B, batch.texts)


def samples_of_audio(path: Path, sample_rate_hz: int) -> Iterator[Sample]:
    """A file of any rate and length, in pieces of at most ``PIECE_S`` seconds.

    Raises:
        InputError: it cannot be read as audio.
    """
    waveform_N = torch.from_numpy(resample(read_audio(path), sample_rate_hz).samples)
    size = round(PIECE_S * sample_rate_hz)
    for start in range(0, len(waveform_N), size):
        piece_N = waveform_N[start : start + size]
        yield Sample("audio", piece_N.unsqueeze(0), torch.tensor([len(piece_N)]))


def samples_of_noise(sample_rate_hz: int) -> Iterator[Sample]:
    """One batch of unequal lengths; no speech."""
    lengths_B = torch.tensor([round(length_s * sample_rate_hz) for length_s in NOISE_S])
    generator = torch.Generator().manual_seed(0)
    waveforms_BN = 0.1 * torch.randn(len(NOISE_S), int(lengths_B.max()), generator=generator)
    is_padding_BN = torch.arange(waveforms_BN.shape[1]) >= lengths_B.unsqueeze(1)
    waveforms_BN = waveforms_BN.masked_fill(is_padding_BN, 0.0)
    yield Sample("noise", waveforms_BN, lengths_B, is_speech=False)
