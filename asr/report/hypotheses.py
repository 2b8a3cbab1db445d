"""Scored hypotheses as JSON lines, and the difference in WER between two runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr.errors import InputError
from asr.files import write_text
from asr.metrics.significance import holm, seed_difference
from asr.metrics.wer import WordErrors, align_words, reference_of
from asr.report.plain import from_plain, to_plain
from asr.report.record import rate_name
from asr.text.script import counted_in
from asr.types import UtteranceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentStep:
    """One step of an alignment: ``op`` is equal, sub, del or ins."""

    op: str
    ref: str | None
    hyp: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredUtterance:
    """An utterance with its word errors; ``audio_path`` and ``speaker`` are None if unknown.

    ``confidences`` are those of the words of ``hyp``, empty if unknown.
    """

    utterance_id: str
    audio_path: str | None
    duration_s: float
    ref: str
    hyp: str
    sub: int
    del_: int
    ins: int
    words: int
    alignment: tuple[AlignmentStep, ...]
    speaker: str | None = None
    confidences: tuple[float, ...] = ()

    @property
    def errors(self) -> WordErrors:
        """The error counts, for summing or resampling."""
        return WordErrors(self.sub, self.del_, self.ins, self.words)


def score(result: UtteranceResult) -> ScoredUtterance:
    """Align one decoded utterance; raise InputError if it has no reference."""
    ref = reference_of(result)
    errors, alignment = align_words(ref, result.hyp)
    return ScoredUtterance(
        utterance_id=result.utterance_id,
        audio_path=result.audio_path,
        duration_s=result.duration_s,
        ref=ref,
        hyp=result.hyp,
        sub=errors.sub,
        del_=errors.del_,
        ins=errors.ins,
        words=errors.words,
        alignment=tuple(AlignmentStep(**step) for step in alignment),
        speaker=result.speaker,
        confidences=result.confidences,
    )


def write_hypotheses(scored: Iterable[ScoredUtterance], path: Path | str) -> None:
    """Write ``scored`` to ``path`` atomically."""
    lines = (json.dumps(to_plain(one), ensure_ascii=False, allow_nan=False) for one in scored)
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_hypotheses(path: Path | str) -> list[ScoredUtterance]:
    """Read what :func:`write_hypotheses` wrote.

    Raises InputError, with the line number, if the file is missing or damaged.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: no hypotheses can be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a file of hypotheses: it is not UTF-8 text") from error
    lines = text.split("\n")
    return [_read(line, f"{path} line {n}") for n, line in enumerate(lines, start=1) if line]


def pair(
    a: Sequence[ScoredUtterance], b: Sequence[ScoredUtterance]
) -> tuple[list[WordErrors], list[WordErrors]]:
    """Return the errors of two systems on the same utterances, in the same order.

    Raises InputError if an utterance is in only one, or its reference differs.
    """
    refs_a = {one.utterance_id: one.ref for one in a}
    refs_b = {one.utterance_id: one.ref for one in b}
    unlike = [key for key in refs_a | refs_b if refs_a.get(key) != refs_b.get(key)]
    if unlike:
        raise InputError(
            f"hypotheses cannot be paired: utterance {unlike[0]!r} is in one only or has another "
            f"reference ({len(unlike)} such); both must score the same split"
        )
    errors_b = {one.utterance_id: one.errors for one in b}
    return [one.errors for one in a], [errors_b[one.utterance_id] for one in a]


def _read(line: str, where: str) -> ScoredUtterance:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not a hypothesis, damaged JSON: {error}") from error
    return from_plain(ScoredUtterance, content, where)


Hypotheses = Sequence[ScoredUtterance]

ALPHA = 0.05
"""A corrected p up to this value is a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WerDifference:
    """WER of ``run`` minus WER of ``baseline`` in points, means over their seeds.

    The interval and ``p`` are those of `asr.metrics.significance`; ``p_holm`` is corrected for the
    ``num_compared`` schedules of the table. Both are None if a schedule has one seed; then the
    interval covers only the choice of ``num_units`` speakers or utterances (``unit``).
    """

    split: str
    run: str
    baseline: str
    difference: float
    low: float
    high: float
    level: float
    num_seeds: int = 1
    num_baseline_seeds: int = 1
    p: float | None = None
    p_holm: float | None = None
    num_compared: int = 1
    unit: str = "utterances"
    num_units: int | None = None
    rate: str = "WER"

    @property
    def is_finding(self) -> bool:
        """Whether the difference is significant."""
        return self.p_holm is not None and self.p_holm <= ALPHA

    @property
    def verdict(self) -> str:
        """Conclusion: "does not differ significantly from none in WER with 3 seeds"."""
        if self.p_holm is None:
            points = f"{self.difference:+.2f} {self.rate} points"
            return f"differs from {self.baseline} by {points} with one seed (no finding)"
        if self.is_finding:
            word = "worse" if self.difference > 0 else "better"
            return (
                f"is {abs(self.difference):.2f} {self.rate} points {word} than {self.baseline} "
                f"with {self.seeds}"
            )
        return (
            f"does not differ significantly from {self.baseline} in {self.rate} with {self.seeds}"
        )

    @property
    def seeds(self) -> str:
        """ "3 seeds", or "5 and 3 seeds" if the schedules have different numbers."""
        if self.num_seeds == self.num_baseline_seeds:
            return f"{self.num_seeds} seed{'s' * (self.num_seeds != 1)}"
        return f"{self.num_seeds} and {self.num_baseline_seeds} seeds"

    def __str__(self) -> str:
        drawn = f"{self.num_units} {self.unit}" if self.num_units else self.unit
        interval = (
            f"{self.run} minus {self.baseline} {self.difference:+.2f}, {self.level:.0%} interval "
            f"{self.low:+.2f} to {self.high:+.2f}"
        )
        if self.p_holm is None:
            return (
                f"{self.split}: {interval} {self.rate} points over {drawn} only; "
                "one seed is not a finding, since another training may reverse it"
            )
        corrected = (
            f"p {p_text(self.p_holm)} by Holm over {self.num_compared} schedules"
            if self.num_compared > 1
            else f"p {p_text(self.p_holm)}"
        )
        return (
            f"{self.split}: {self.run} {self.verdict} ({interval} over seeds and {drawn}, "
            f"{corrected})"
        )


def wer_difference(
    runs: Sequence[Hypotheses],
    baselines: Sequence[Hypotheses],
    *,
    split: str,
    run_name: str,
    baseline_name: str,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> WerDifference:
    """Compare the seeds of a schedule with those of its baseline.

    Raises:
        InputError: two of them score different utterances.
    """
    first = runs[0]
    found = seed_difference(
        [pair(first, run)[1] for run in runs],
        [pair(first, baseline)[1] for baseline in baselines],
        speakers=[one.speaker for one in first],
        num_samples=num_samples,
        seed=seed,
        level=level,
    )
    return WerDifference(
        split=split,
        run=run_name,
        baseline=baseline_name,
        difference=found.difference,
        low=found.low,
        high=found.high,
        level=level,
        num_seeds=len(runs),
        num_baseline_seeds=len(baselines),
        p=found.p,
        p_holm=found.p,
        unit=found.unit,
        num_units=found.num_units,
        rate=rate_name(counted_in(one.ref for one in first)),
    )


def corrected(differences: Sequence[WerDifference]) -> list[WerDifference]:
    """Apply Holm's correction to the differences of a table, over the schedules of each split."""
    p_holm: dict[int, float | None] = {}
    num_compared: dict[str, int] = {}
    for split in dict.fromkeys(one.split for one in differences):
        places = [place for place, one in enumerate(differences) if one.split == split]
        found = holm([differences[place].p for place in places])
        num_compared[split] = sum(p is not None for p in found)
        p_holm |= zip(places, found, strict=True)
    return [
        replace(one, p_holm=p_holm[place], num_compared=max(1, num_compared[one.split]))
        for place, one in enumerate(differences)
    ]


def p_text(p: float) -> str:
    """Return p with two digits, or "below 0.001"."""
    return "below 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.0995 else f"{p:.2f}"
