"""Features of some utterances, computed once, and tests of several models on them.

The models share one front end. Features are stored in temporary files, 115 MB for an hour of audio,
and only one batch is in memory.

Shape legend: B batch, T frames, F mel bins, D model width, V vocabulary, U tokens, L layers, H
heads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.data.loader import evaluation_batches
from asr.data.manifest import Utterances
from asr.decode.search import Search
from asr.encoder.maps import encode_with_maps
from asr.errors import InputError
from asr.head.base import Head
from asr.metrics.attention import StreamingMean, total_variation_similarity
from asr.metrics.wer import corpus_wer
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.text.tokenizer import Tokenizer
from asr.types import UtteranceResult

MAX_UTTERANCE_S = 40.0  # maps of longer ones, layers x heads x frames^2, would take gigabytes


@dataclass(frozen=True, slots=True)
class CalibrationBatch:
    """``features_BTF`` with ``lengths_B`` frames, and their transcripts."""

    features_BTF: Tensor
    lengths_B: Tensor
    token_ids_BU: Tensor
    token_lengths_B: Tensor
    utterance_ids: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """Mean CTC loss in nats of the utterances that can be aligned, and WER in percent."""

    loss: float
    wer: float


class StoredBatches:
    """Batches in a temporary folder, read one at a time onto ``device``, pass after pass.

    The folder is deleted with the object.
    """

    def __init__(self, batches: Iterable[CalibrationBatch], device: torch.device) -> None:
        self._device = device
        self._folder = tempfile.TemporaryDirectory(prefix="encore-")
        self._paths: list[Path] = []
        self.num_utterances = 0
        for index, batch in enumerate(batches):
            path = Path(self._folder.name, f"{index}.pt")
            torch.save(vars_of(batch), path)
            self._paths.append(path)
            self.num_utterances += len(batch.utterance_ids)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[CalibrationBatch]:
        for path in self._paths:
            stored = torch.load(path, map_location=self._device, weights_only=True)
            yield CalibrationBatch(**stored)


def vars_of(batch: CalibrationBatch) -> dict[str, Any]:
    """Return the fields of a batch."""
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


class CalibrationBatches:
    """Batches of features, on the device of the model that made them."""

    def __init__(self, batches: StoredBatches) -> None:
        self.batches = batches

    @property
    def num_utterances(self) -> int:
        """Number of utterances that could be read."""
        return self.batches.num_utterances

    @classmethod
    @torch.inference_mode()
    def read(cls, package: ModelPackage, utterances: Utterances) -> CalibrationBatches:
        """Compute the features of ``utterances`` with the front end of ``package``.

        Audio that cannot be read is named in the log and left out.

        Raises:
            InputError: no utterance could be read.
        """
        frontend = package.model.frontend
        device = package.model.device

        def featurised() -> Iterator[CalibrationBatch]:
            for batch in evaluation_batches(package, utterances):
                there = batch.to(device)
                features_BTF, lengths_B = frontend(there.waveforms_BN, there.waveform_lengths_B)
                yield CalibrationBatch(
                    features_BTF=features_BTF,
                    lengths_B=lengths_B,
                    token_ids_BU=there.token_ids_BU,
                    token_lengths_B=there.token_lengths_B,
                    utterance_ids=batch.utterance_ids,
                    texts=batch.texts,
                )

        batches = StoredBatches(featurised(), device)
        if not batches.num_utterances:
            raise InputError(f"none of {len(utterances)} utterances could be read; see the log")
        return cls(batches)

    @torch.inference_mode()
    def test(self, model: AsrModel, tokenizer: Tokenizer, decoder: Search) -> Tested:
        """Return loss and WER of ``model``, which must have the same front end as the features."""
        losses = LossSum(model.head)
        results: list[UtteranceResult] = []
        for batch in self.batches:
            encoded = model.encoder(batch.features_BTF, batch.lengths_B)
            outputs_BTX = model.head(encoded.frames_BTD)
            losses.add(outputs_BTX, encoded.lengths_B, batch)
            results += [
                UtteranceResult(utterance_id, tokenizer.decode(one.token_ids), 0.0, ref=text)
                for utterance_id, text, one in zip(
                    batch.utterance_ids,
                    batch.texts,
                    decoder(outputs_BTX, encoded.lengths_B),
                    strict=True,
                )
            ]
        return Tested(losses.mean(), corpus_wer(results).wer)

    @torch.inference_mode()
    def head_similarity(
        self, model: AsrModel, report: Callable[[str], None] = lambda _: None
    ) -> Tensor:
        """Return the mean total variation similarity (L, H, L, H) of all heads over utterances.

        Every layer of ``model`` must have an attention map.
        """
        mean_LHLH = StreamingMean()
        num_done = 0
        for batch in self.batches:
            encoded = encode_with_maps(model.encoder, batch.features_BTF, batch.lengths_B)
            maps = [one for one in encoded.maps if one is not None]
            assert len(maps) == model.encoder.num_layers
            for row, length in enumerate(encoded.lengths_B.tolist()):
                probs_LHTT = torch.stack([one[row, :, :length, :length] for one in maps])
                mean_LHLH.add(total_variation_similarity(probs_LHTT))
            num_done += len(batch.utterance_ids)
            report(f"compared heads on {num_done} of {self.num_utterances} utterances")
        return mean_LHLH.mean


class LossSum:
    """The sum of the losses of utterances with one head."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._sum = 0.0
        self._num = 0

    def add(self, outputs_BTX: Tensor, lengths_B: Tensor, batch: CalibrationBatch) -> None:
        """Add the losses of the utterances of a batch that can be aligned."""
        losses_B = self._head.utterance_losses(
            outputs_BTX, lengths_B, batch.token_ids_BU, batch.token_lengths_B
        )
        kept_B = losses_B[losses_B.isfinite()]
        self._sum += float(kept_B.sum())
        self._num += len(kept_B)

    def mean(self) -> float:
        """Return the mean loss per utterance.

        Raises:
            InputError: no utterance has as many frames as its transcript needs.
        """
        if not self._num:
            raise InputError("no utterance is long enough for its transcript: no loss to measure")
        return self._sum / self._num
