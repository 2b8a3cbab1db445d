"""Audio to attention maps, one batch in memory at a time.

Shape legend: B batch, L layers, H heads, T frames, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts
from asr.decode.align import NO_LABEL, align
from asr.encoder.maps import EncoderMaps, encode_with_maps
from asr.model.package import ModelPackage
from asr.types import Batch, InputError

BATCH_S = 40.0  # padded seconds of audio whose maps are held at once


@dataclass(frozen=True, slots=True)
class EncodedUtterance:
    """One utterance without padding.

    ``probs_LHTT`` the maps of `EncodedStream.map_layers`, ``outputs_LTD`` the output of every
    layer, ``labels_T`` the token of each frame, all ``NO_LABEL`` where there is no alignment.
    """

    probs_LHTT: Tensor
    outputs_LTD: Tensor
    labels_T: Tensor


class EncodedStream:
    """Encodes cuts and counts them.

    ``map_layers`` are the layers whose maps are given: those with the most heads, ``num_heads``.
    """

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self.map_layers: list[int] = []
        self.num_heads = 0
        self.num_utterances = 0
        self.num_skipped = 0

    def __call__(self, cuts: Cuts) -> Iterator[EncodedUtterance]:
        """Every utterance of ``cuts`` that can be read, the longest first.

        Raises:
            InputError: no layer of the model has an attention map.
        """
        loader = ResumableLoader(
            cuts,
            dataset=SpeechDataset(
                tokenizer=self.package.tokenizer,
                normalizer=self.package.normalizer,
                sample_rate_hz=self.package.model.frontend.sample_rate_hz,
            ),
            batching=Batching(max_duration_s=BATCH_S),
            training=False,
        )
        device = next(self.package.model.parameters()).device
        for batch in loader:
            with torch.inference_mode():
                for utterance in self._encode(batch.to(device)):
                    self.num_utterances += 1
                    yield utterance
        self.num_skipped += len(loader.unreadable)

    def _encode(self, batch: Batch) -> Iterator[EncodedUtterance]:
        model = self.package.model
        features_BTF, lengths_B = model.frontend(batch.waveforms_BN, batch.waveform_lengths_B)
        encoded = encode_with_maps(model.encoder, features_BTF, lengths_B)
        labels_BT = self._align(batch, encoded)
        maps = {layer: one for layer, one in enumerate(encoded.maps) if one is not None}
        if not maps:
            raise InputError(f"{self.package.folder}: no layer of this model has an attention map")
        self.num_heads = max(one.shape[1] for one in maps.values())
        maps = {layer: one for layer, one in maps.items() if one.shape[1] == self.num_heads}
        self.map_layers = list(maps)
        for row, length in enumerate(encoded.lengths_B.tolist()):
            yield EncodedUtterance(
                probs_LHTT=torch.stack([one[row, :, :length, :length] for one in maps.values()]),
                outputs_LTD=torch.stack([one[row, :length] for one in encoded.outputs]),
                labels_T=labels_BT[row, :length],
            )

    def _align(self, batch: Batch, encoded: EncoderMaps) -> Tensor:
        """(B, T) labels; a transcript that the model cannot write has none."""
        labels_BT = align(
            self.package.model.head(encoded.frames_BTD),
            encoded.lengths_B,
            batch.token_ids_BU,
            batch.token_lengths_B,
        )
        unknown_B = (batch.token_ids_BU == self.package.tokenizer.unk_id).any(1).cpu()
        return labels_BT.masked_fill(unknown_B.unsqueeze(1), NO_LABEL)
