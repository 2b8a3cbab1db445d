"""A trained model on a manifest: every measure in one pass over the audio.

Shape legend: B batch, L layers, H heads, T frames, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts
from asr.decode.align import NO_LABEL, align
from asr.encoder.maps import encode_with_maps
from asr.model.package import ModelPackage
from asr.report.analysis.attention import AttentionMeasures
from asr.report.analysis.probing import LayerProbe
from asr.report.analysis.result import Analysis, Counted, Groups, Suggested
from asr.report.analysis.tokens import TokenClasses, frequent_tokens
from asr.report.record import ScheduledLayer
from asr.reuse.suggest import Suggestion, best_groups, greedy_groups
from asr.types import Batch, InputError

BATCH_S = 40.0  # padded seconds of audio whose maps are held at once
MAX_UTTERANCE_S = 40.0  # the maps of longer ones, at L x H x T x T, would take gigabytes
NUM_TOKENS = 32  # told apart, the most frequent first
TEST_EVERY = 5  # of the utterances, one is kept for testing the probe


@dataclass(frozen=True, slots=True)
class EncodedUtterance:
    """One utterance without padding: maps and outputs of its layers, and its alignment."""

    probs_LHTT: Tensor
    outputs_LTD: Tensor
    labels_T: Tensor


def analyze(
    package: ModelPackage,
    cuts: Cuts,
    *,
    run: str,
    data: str,
    threshold: float,
    report: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """Measure ``package`` on ``cuts``; ``run`` and ``data`` are how the result calls them.

    Raises:
        InputError: no utterance is short enough or can be read, or no layer has a map.
    """
    kept = [cut for cut in cuts if cut.duration <= MAX_UTTERANCE_S]
    if not kept:
        raise InputError(f"{data}: all utterances are longer than {MAX_UTTERANCE_S:g} s")
    tokens = frequent_tokens(type(cuts).from_cuts(kept), package, num_tokens=NUM_TOKENS)
    attention = AttentionMeasures(tokens)
    probe = LayerProbe(num_classes=max(1, len(tokens)))
    stream = Stream(package, type(cuts))
    test = kept[TEST_EVERY - 1 :: TEST_EVERY]
    held_out = {cut.id for cut in test}
    train = [cut for cut in kept if cut.id not in held_out]
    num_aligned = 0
    for part, take in ((train, probe.learn), (test, probe.test)):
        for utterance in stream(part):
            class_T = tokens.of_labels(utterance.labels_T)
            attention.add(utterance.probs_LHTT, class_T)
            take(utterance.outputs_LTD, class_T)
            num_aligned += bool((utterance.labels_T != NO_LABEL).all())
            report(f"analysed {stream.num_utterances} of {len(kept)} utterances")
    if not stream.num_utterances:
        raise InputError(f"none of {len(kept)} utterances could be read; see the log")
    return Analysis(
        run=run,
        reuse=package.model.encoder.reuse.name,
        schedule=[ScheduledLayer(**row._asdict()) for row in package.model.encoder.schedule_rows()],
        counted=Counted(
            data=data,
            num_utterances=stream.num_utterances,
            num_skipped=stream.num_skipped,
            num_left_out=len(cuts) - len(kept),
            num_aligned=num_aligned,
        ),
        frame_shift_s=package.model.frame_shift_s,
        num_heads=package.model.encoder.num_heads,
        map_layers=stream.map_layers,
        similarity=attention.similarity(),
        diagonality=attention.diagonality(),
        relationship=attention.relationship(),
        probe=probe.result(),
        suggested=suggested(attention.jensen_shannon_LL, threshold)
        if len(stream.map_layers) == package.model.encoder.num_layers
        else None,
    )


def suggested(similarity_LL: Tensor, threshold: float) -> Suggested:
    """Groups to try."""
    return Suggested(
        threshold=threshold,
        greedy=_groups(greedy_groups(similarity_LL, threshold=threshold)),
        best=[
            _groups(best_groups(similarity_LL, num_groups=num_groups))
            for num_groups in range(1, len(similarity_LL) + 1)
        ],
    )


def _groups(suggestion: Suggestion) -> Groups:
    return Groups(groups=list(suggestion.groups), risk=round(suggestion.risk, 4))


class Stream:
    """Utterances encoded one batch at a time."""

    def __init__(self, package: ModelPackage, cut_set: type[Cuts]) -> None:
        self.package = package
        self.cut_set = cut_set
        self.map_layers: list[int] = []
        self.num_utterances = 0
        self.num_skipped = 0

    def __call__(self, cuts: list) -> Iterator[EncodedUtterance]:
        """Every utterance of ``cuts`` that can be read, the longest first."""
        if not cuts:
            return
        loader = ResumableLoader(
            self.cut_set.from_cuts(cuts),
            dataset=SpeechDataset(
                tokenizer=self.package.tokenizer,
                normalizer=self.package.normalizer,
                sample_rate_hz=self.package.model.frontend.sample_rate_hz,
            ),
            batching=Batching(max_duration_s=BATCH_S),
            training=False,
        )
        for batch in loader:
            yield from self._encode(batch)
        self.num_skipped += loader.num_skipped
