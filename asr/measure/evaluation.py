"""Word error rate of a model on a manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from asr.data.dataset import stream_cut
from asr.data.manifest import Cuts, audio_path, transcript
from asr.data.summary import Skipped
from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.metrics.wer import corpus_cer
from asr.model.package import ModelPackage
from asr.report.hypotheses import ScoredUtterance, score
from asr.report.record import SplitCounts, SplitWer
from asr.text.script import counted_in
from asr.types import InputError, UtteranceResult

REPORT_EVERY = 100  # utterances

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SplitEvaluation:
    """Every utterance of a split, scored, and the totals for the run record."""

    scored: tuple[ScoredUtterance, ...]
    counts: SplitCounts
    wer: SplitWer


def evaluate(
    package: ModelPackage,
    cuts: Cuts,
    decoder: GreedyDecoder,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> SplitEvaluation:
    """Decode ``cuts`` as `asr transcribe` does and score them, in the order of the manifest.

    Long audio is read in chunks, and memory grows with neither its length nor the number of cuts.
    Audio that cannot be read is named in the log, counted and left out of the rate.

    Raises:
        InputError: no utterance could be read.
    """
    transcriber = Transcriber(package, decoder)
    rate_hz = package.model.frontend.sample_rate_hz
    recordings = [partial(stream_cut, cut, rate_hz) for cut in cuts]
    found = transcriber.read([cut.id for cut in cuts], recordings)
    in_order: list[UtteranceResult] = []
    num_skipped = 0
    for num_done, (cut, read) in enumerate(zip(cuts, found, strict=True), start=1):
        if isinstance(read, InputError):
            num_skipped += 1
            logger.warning("skipped utterance %s", Skipped(cut.id, str(read)))
        else:
            in_order.append(
                UtteranceResult(
                    utterance_id=cut.id,
                    hyp=read.text,
                    duration_s=cut.duration,
                    ref=package.normalizer(transcript(cut)),
                    audio_path=str(audio_path(cut)),
                    speaker=cut.speaker,
                )
            )
        if num_done % REPORT_EVERY == 0 or num_done == len(cuts):
            report(f"decoded {len(in_order)} of {len(cuts)} utterances")
    if not in_order:
        raise InputError(f"none of {len(cuts)} utterances could be read; see the log")
    scored = tuple(map(score, in_order))
    return SplitEvaluation(
        scored=scored,
        counts=SplitCounts(
            num_utterances=len(cuts),
            hours=sum(cut.duration for cut in cuts) / 3600,
            num_words=sum(one.words for one in scored),
            num_skipped=num_skipped,
        ),
        wer=SplitWer.from_errors(
            [one.errors for one in scored],
            speakers=[one.speaker for one in scored],
            cer=corpus_cer(in_order).wer,
            counted=counted_in(one.ref for one in scored),
        ),
    )
