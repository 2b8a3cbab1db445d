"""Evaluation: decodes a manifest with a model and scores it (WER, CER, counts)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean

from asr.data.dataset import stream_utterance
from asr.data.manifest import Utterances
from asr.data.summary import Skipped
from asr.decode.labelling import ENCODER, FEATURES, SEARCH
from asr.decode.search import Search
from asr.decode.silence import SILENCE_DB
from asr.decode.transcribe import Transcriber
from asr.decode.vad import VADS
from asr.errors import InputError
from asr.metrics.alternatives import Equivalents, normalized_readings
from asr.metrics.confidence import tempered
from asr.metrics.wer import WordErrors, corpus_cer
from asr.model.package import ModelPackage
from asr.nn.chunks import ChunkContext
from asr.report.hypotheses import ScoredUtterance, score, wer_difference
from asr.report.record import DecodingWork, SplitCounts, SplitWer, WerChange
from asr.text.scoring import Scoring
from asr.text.script import counted_in
from asr.types import UtteranceResult

REPORT_EVERY = 100  # utterances

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SplitEvaluation:
    """The scored utterances of a split, and the totals for the run record.

    ``work`` differs from time to time and does not count when two are compared.
    """

    scored: tuple[ScoredUtterance, ...]
    counts: SplitCounts
    wer: SplitWer
    work: DecodingWork = field(compare=False)

    def by_label(self, values: Mapping[str, str]) -> dict[str, SplitWer]:
        """Return the WER by label; ``values`` maps utterance ids to labels."""
        groups: dict[str, list[ScoredUtterance]] = {}
        for one in self.scored:
            groups.setdefault(values[one.utterance_id], []).append(one)
        return {value: _rate(found, scoring=self.wer.scoring) for value, found in groups.items()}

    def judged_words(self) -> tuple[list[float], list[bool]]:
        """Return the confidences of all hypothesis words, and whether the words are right."""
        confidences: list[float] = []
        is_right: list[bool] = []
        for one in self.scored:
            ops = [step.op for step in one.alignment if step.op != "del"]
            if len(ops) == len(one.confidences):
                confidences += one.confidences
                is_right += [op == "equal" for op in ops]
        return confidences, is_right

    def tempered(self, temperature: float) -> SplitEvaluation:
        """Return the same evaluation with confidences at ``temperature`` instead of 1."""
        scored = [
            replace(
                one,
                confidences=tuple(round(tempered(c, temperature), 4) for c in one.confidences),
            )
            for one in self.scored
        ]
        return replace(self, scored=tuple(scored))

    def wer_of_surest(self, share: float) -> float:
        """Return the error rate of the ``share`` of utterances with the highest confidence.

        Their confidence is the mean over words; an utterance without words has the lowest.
        """
        by_confidence = sorted(
            self.scored, key=lambda one: -fmean(one.confidences) if one.confidences else 0.0
        )
        surest = by_confidence[: max(1, round(share * len(by_confidence)))]
        return WordErrors.total(one.errors for one in surest).wer

    def change_from(self, exact: SplitEvaluation) -> WerChange:
        """Return this rate minus that of the same split in float32."""
        found = wer_difference(
            [self.scored], [exact.scored], split="", run_name="", baseline_name="float32"
        )
        return WerChange(
            difference=found.difference, low=found.low, high=found.high, wer_float32=exact.wer.wer
        )


def evaluate(
    package: ModelPackage,
    utterances: Utterances,
    decoder: Search,
    *,
    chunk_s: float = 30.0,
    overlap_s: float = 4.0,
    vad: str = VADS[0],
    silence_db: float | None = SILENCE_DB,
    stream: ChunkContext | None = None,
    scoring: Scoring | None = None,
    equivalents: Equivalents | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> SplitEvaluation:
    """Decode ``utterances`` as `asr transcribe` does and score them, in the order of the manifest.

    ``chunk_s``, ``overlap_s``, ``vad``, ``silence_db`` and ``stream`` are those of `Transcriber`.
    ``scoring`` normalises references and hypotheses, None as the model does; then ``equivalents``
    are applied. References may have alternatives (`asr.metrics.alternatives`). Long audio is read
    in chunks, so memory depends neither on its length nor on the number of utterances. Audio that
    cannot be read is named in the log, counted and left out of the rate.

    Raises:
        InputError: no utterance could be read.
    """
    transcriber = Transcriber(
        package,
        decoder,
        chunk_s=chunk_s,
        overlap_s=overlap_s,
        vad=vad,
        silence_db=silence_db,
        stream=stream,
    )
    normalize = package.normalizer if scoring is None else scoring.reference
    rate_hz = package.model.frontend.sample_rate_hz
    recordings = [partial(stream_utterance, utterance, rate_hz) for utterance in utterances]
    found = transcriber.read([utterance.utterance_id for utterance in utterances], recordings)
    in_order: list[UtteranceResult] = []
    num_skipped = 0
    for num_done, (utterance, read) in enumerate(zip(utterances, found, strict=True), start=1):
        if isinstance(read, InputError):
            num_skipped += 1
            logger.warning("skipped utterance %s", Skipped(utterance.utterance_id, str(read)))
        else:
            in_order.append(
                UtteranceResult(
                    utterance_id=utterance.utterance_id,
                    hyp=_hypothesis(read.text, scoring, equivalents),
                    duration_s=utterance.duration_s,
                    ref=_reference(utterance.text, normalize, equivalents),
                    audio_path=str(utterance.audio_path),
                    speaker=utterance.speaker,
                    confidences=tuple(
                        word.confidence for word in read.words if word.confidence is not None
                    ),
                )
            )
        if num_done % REPORT_EVERY == 0 or num_done == len(utterances):
            report(f"decoded {len(in_order)} of {len(utterances)} utterances")
    if not in_order:
        raise InputError(f"none of {len(utterances)} utterances could be read; see the log")
    scored = tuple(map(score, in_order))
    return SplitEvaluation(
        scored=scored,
        counts=SplitCounts(
            num_utterances=len(utterances),
            hours=sum(utterance.duration_s for utterance in utterances) / 3600,
            num_words=sum(one.words for one in scored),
            num_skipped=num_skipped,
        ),
        wer=_rate(
            scored,
            cer=corpus_cer(in_order).wer,
            scoring=_named(scoring, equivalents),
        ),
        work=_work(transcriber, in_order),
    )


def _work(transcriber: Transcriber, decoded: Sequence[UtteranceResult]) -> DecodingWork:
    times_s = transcriber.profiler.times_s()
    return DecodingWork(
        audio_s=sum(one.duration_s for one in decoded),
        features=times_s.get(FEATURES, 0.0),
        encoder=times_s.get(ENCODER, 0.0),
        search=times_s.get(SEARCH, 0.0),
    )


def _rate(
    scored: Sequence[ScoredUtterance], *, cer: float | None = None, scoring: str | None
) -> SplitWer:
    return SplitWer.from_errors(
        [one.errors for one in scored],
        speakers=[one.speaker for one in scored],
        cer=cer,
        counted=counted_in(one.ref for one in scored),
        scoring=scoring,
    )


def _reference(text: str, normalize: Callable[[str], str], equivalents: Equivalents | None) -> str:
    spelt = normalized_readings(text, normalize)
    return spelt if equivalents is None else equivalents.in_reference(spelt)


def _hypothesis(text: str, scoring: Scoring | None, equivalents: Equivalents | None) -> str:
    spelt = text if scoring is None else scoring.hypothesis(text)
    return spelt if equivalents is None else equivalents.in_hypothesis(spelt)


def _named(scoring: Scoring | None, equivalents: Equivalents | None) -> str | None:
    """Return how both sides were normalised, None for the default."""
    parts = [scoring.name] if scoring is not None else []
    if equivalents is not None:
        parts.append(equivalents.name)
    return ", ".join(parts) or None
