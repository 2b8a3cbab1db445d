"""The analysis of a trained model on a manifest, in one pass over the audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asr.data.loader import evaluation_batches
from asr.data.manifest import Utterances
from asr.data.splits import hold_out_every, no_longer_than
from asr.decode.align import NO_LABEL, align
from asr.encoder.maps import EncoderMaps, encode_with_maps
from asr.errors import InputError
from asr.measure.analysis.attention import AttentionMeasures, LayerProbe, frequent_tokens
from asr.measure.analysis.propose import EncoderLatency, propose, propose_tried
from asr.measure.analysis.trial import Trial
from asr.measure.calibration import MAX_UTTERANCE_S, CalibrationBatches
from asr.measure.evaluation import REPORT_EVERY
from asr.model.convert import full_attention
from asr.model.package import ModelPackage
from asr.report.analysis import Analysis, Counted
from asr.report.record import ScheduledLayer
from asr.types import Batch

NUM_TOKENS = 32  # the most frequent tokens have their own class
TEST_EVERY = 5  # every fifth utterance is kept for testing the probe


@dataclass(frozen=True, slots=True)
class EncodedUtterance:
    """One utterance without padding.

    ``probs_LHTT`` the maps of `EncodedStream.map_layers`, ``outputs_LTD`` the output of every
    layer, ``labels_T`` the token of each frame, all ``NO_LABEL`` without an alignment.
    """

    probs_LHTT: Tensor
    outputs_LTD: Tensor
    labels_T: Tensor


class EncodedStream:
    """Encodes utterances and counts them.

    ``map_layers`` are the layers whose maps are returned: those with the most heads, ``num_heads``.
    """

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self.map_layers: list[int] = []
        self.num_heads = 0
        self.num_utterances = 0
        self.num_skipped = 0

    def __call__(self, utterances: Utterances) -> Iterator[EncodedUtterance]:
        """Yield every readable utterance of ``utterances``, the longest first.

        Raises:
            InputError: no layer of the model has an attention map.
        """
        loader = evaluation_batches(self.package, utterances)
        device = self.package.model.device
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
        """Return (B, T) labels, none for a transcript with tokens unknown to the model."""
        labels_BT = align(
            self.package.model.head.frame_log_probs(encoded.frames_BTD),
            encoded.lengths_B,
            batch.token_ids_BU,
            batch.token_lengths_B,
        )
        unknown_B = (batch.token_ids_BU == self.package.tokenizer.unk_id).any(1).cpu()
        return labels_BT.masked_fill(unknown_B.unsqueeze(1), NO_LABEL)


def analyze(
    package: ModelPackage,
    utterances: Utterances,
    *,
    run: str,
    data: str,
    threshold: float,
    latency: EncoderLatency | None = None,
    budget_ms: float | None = None,
    reuse: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """Measure ``package`` on ``utterances``, which the result calls ``run`` and ``data``.

    Schedules are proposed by ``threshold`` (see `asr.reuse.suggest`) or, with ``latency`` (the cost
    of layers), within ``budget_ms``. With ``reuse``, the config of a method with any grouping,
    conversion to it is tried on the same utterances (see `asr.measure.analysis.trial`).

    Audio that cannot be read is named in the log, counted and left out.

    Raises:
        InputError: no utterance is short enough or can be read, no layer has an attention map, or
            conversion is to be tried for a model that already reuses attention.
    """
    if reuse is not None:
        full_attention(package.model.encoder)
    encoder = package.model.encoder
    kept = no_longer_than(utterances, MAX_UTTERANCE_S)
    tokens = frequent_tokens(kept, package, num_tokens=NUM_TOKENS)
    attention = AttentionMeasures(tokens)
    probe = LayerProbe(num_classes=len(tokens))
    stream = EncodedStream(package)
    train, test = hold_out_every(kept, TEST_EVERY)
    num_aligned = 0
    for part, take in ((train, probe.learn), (test, probe.test)):
        for utterance in stream(part):
            class_T = tokens.of_labels(utterance.labels_T)
            attention.add(utterance.probs_LHTT, class_T)
            take(utterance.outputs_LTD, class_T)
            num_aligned += bool((utterance.labels_T != NO_LABEL).all())
            if stream.num_utterances % REPORT_EVERY == 0:
                report(f"analysed {stream.num_utterances} of {len(kept)} utterances")
    if not stream.num_utterances:
        raise InputError(f"none of {len(kept)} utterances could be read; see the log")
    suggested, tried = None, None
    if len(stream.map_layers) == encoder.num_layers:
        suggested = propose(
            attention.similarity_of_layers(),
            threshold=threshold,
            latency=latency,
            budget_ms=budget_ms,
        )
    if suggested is not None and reuse is not None:
        trial = Trial(
            package.model,
            CalibrationBatches.read(package, kept),
            reuse,
            attention.similarity_of_heads(),
        )
        report(
            f"trying {len(trial.pairs)} pairs of leader and follower: about "
            f"{trial.pairs_s():.0f} s, of {trial.pass_s:.1f} s for each pass of the whole model"
        )
        suggested, tried = propose_tried(trial, suggested, latency=latency, report=report)
    return Analysis(
        run=run,
        reuse=encoder.reuse.name,
        schedule=[ScheduledLayer(**row._asdict()) for row in encoder.schedule_rows()],
        counted=Counted(
            data=data,
            num_utterances=stream.num_utterances,
            num_skipped=stream.num_skipped,
            num_left_out=len(utterances) - len(kept),
            num_aligned=num_aligned,
        ),
        frame_shift_s=package.model.frame_shift_s,
        num_heads=stream.num_heads,
        map_layers=stream.map_layers,
        similarity=attention.similarity(),
        diagonality=attention.diagonality(),
        relationship=attention.relationship(),
        probe=probe.result(),
        suggested=suggested,
        tried=tried,
    )
