"""Word error rate of a model on a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts, audio_path
from asr.decode.greedy import GreedyDecoder
from asr.decode.silence import is_silent
from asr.metrics.wer import corpus_cer
from asr.model.package import ModelPackage
from asr.report.hypotheses import ScoredUtterance, score
from asr.report.record import SplitCounts, SplitWer
from asr.text.script import counted_in
from asr.types import InputError, UtteranceResult

BATCH_S = 120.0  # padded seconds of audio decoded at once


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
    """Decode ``cuts`` and score them; utterances come back in the order of the manifest.

    Utterances without speech by `is_silent` have no words, as in `asr.decode.labelling`.
    Audio that cannot be read is named in the log, counted and left out of the rate.

    Raises:
        InputError: no utterance could be read.
    """
    model, tokenizer = package.model, package.tokenizer
    device = next(model.parameters()).device
    dataset = SpeechDataset(
        tokenizer=tokenizer,
        normalizer=package.normalizer,
        sample_rate_hz=model.frontend.sample_rate_hz,
    )
    loader = ResumableLoader(
        cuts, dataset=dataset, batching=Batching(max_duration_s=BATCH_S), training=False
    )
    by_id = {cut.id: cut for cut in cuts}
    results: dict[str, UtteranceResult] = {}
    for batch in loader:
        on_device = batch.to(device)
        with torch.inference_mode():
            log_probs_BTV, lengths_B = model(on_device.waveforms_BN, on_device.waveform_lengths_B)
        for row, (utterance_id, ref, hypothesis) in enumerate(
            zip(batch.utterance_ids, batch.texts, decoder(log_probs_BTV, lengths_B), strict=True)
        ):
            samples_N = batch.waveforms_BN[row, : batch.waveform_lengths_B[row]].numpy()
            spoken = not is_silent(samples_N, model.frontend.sample_rate_hz)
            cut = by_id[utterance_id]
            results[utterance_id] = UtteranceResult(
                utterance_id=utterance_id,
                hyp=tokenizer.decode(hypothesis.token_ids) if spoken else "",
                duration_s=cut.duration,
                ref=ref,
                audio_path=str(audio_path(cut)),
                speaker=cut.speaker,
            )
        report(f"decoded {len(results)} of {len(by_id)} utterances")
    if not results:
        raise InputError(f"none of {len(by_id)} utterances could be read; see the log")
    in_order = [results[key] for key in by_id if key in results]
    scored = tuple(map(score, in_order))
    return SplitEvaluation(
        scored=scored,
        counts=SplitCounts(
            num_utterances=len(by_id),
            hours=sum(cut.duration for cut in by_id.values()) / 3600,
            num_words=sum(one.words for one in scored),
            num_skipped=len(loader.unreadable),
        ),
        wer=SplitWer.from_errors(
            [one.errors for one in scored],
            speakers=[one.speaker for one in scored],
            cer=corpus_cer(in_order).wer,
            counted=counted_in(one.ref for one in scored),
        ),
    )
