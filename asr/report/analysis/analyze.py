"""A trained model on a manifest: every measure in one pass over the audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asr.data.manifest import Cuts
from asr.data.sample import hold_out, no_longer_than
from asr.decode.align import NO_LABEL
from asr.model.convert import full_attention
from asr.model.package import ModelPackage
from asr.report.analysis.attention import AttentionMeasures
from asr.report.analysis.latency import EncoderLatency
from asr.report.analysis.probing import LayerProbe
from asr.report.analysis.propose import propose, propose_tried
from asr.report.analysis.result import Analysis, Counted
from asr.report.analysis.stream import EncodedStream
from asr.report.analysis.tokens import frequent_tokens
from asr.report.analysis.trial import Trial
from asr.report.calibration import MAX_UTTERANCE_S, Calibration
from asr.report.record import ScheduledLayer
from asr.types import InputError

NUM_TOKENS = 32  # told apart, the most frequent first
REPORT_EVERY = 100  # utterances
TEST_EVERY = 5  # of the utterances, one is kept for testing the probe


def analyze(
    package: ModelPackage,
    cuts: Cuts,
    *,
    run: str,
    data: str,
    threshold: float,
    latency: EncoderLatency | None = None,
    budget_ms: float | None = None,
    reuse: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """Measure ``package`` on ``cuts``; ``run`` and ``data`` are how the result calls them.

    Schedules are proposed by ``threshold`` (see `asr.reuse.suggest`), or with ``latency``, what
    layers cost, within ``budget_ms``. With ``reuse``, a config of a method, whatever its grouping,
    conversion to it is tried on the same utterances (see `asr.report.analysis.trial`).

    Audio that cannot be read is named in the log, counted and left out.

    Raises:
        InputError: no utterance is short enough or can be read, no layer has an attention map, or
            conversion is to be tried of a model that reuses attention already.
    """
    if reuse is not None:
        full_attention(package.model.encoder)
    encoder = package.model.encoder
    kept = no_longer_than(cuts, MAX_UTTERANCE_S)
    tokens = frequent_tokens(kept, package, num_tokens=NUM_TOKENS)
    attention = AttentionMeasures(tokens)
    probe = LayerProbe(num_classes=len(tokens))
    stream = EncodedStream(package)
    train, test = hold_out(kept, TEST_EVERY)
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
            package.model, Calibration.read(package, kept), reuse, attention.similarity_of_heads()
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
            num_left_out=len(cuts) - len(kept),
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
