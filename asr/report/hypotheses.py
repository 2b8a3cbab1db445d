"""Scored hypotheses as JSON lines: one utterance per line, with its alignment.

Keys: utterance_id, audio_path, duration_s, ref, hyp, sub, del, ins, words, alignment, speaker; the
alignment is a list of ``{"op", "ref", "hyp"}``, one per word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.atomic import write_text
from asr.metrics.wer import WordErrors, align_words, reference_of
from asr.report.plain import from_plain, to_plain
from asr.types import InputError, UtteranceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an alignment: ``op`` is equal, sub, del or ins."""

    op: str
    ref: str | None
    hyp: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredUtterance:
    """An utterance with its word errors; ``audio_path``, ``speaker`` None where not known."""

    utterance_id: str
    audio_path: str | None
    duration_s: float
    ref: str
    hyp: str
    sub: int
    del_: int
    ins: int
    words: int
    alignment: tuple[Step, ...]
    speaker: str | None = None

    @property
    def errors(self) -> WordErrors:
        """Its counts, to be summed or resampled."""
        return WordErrors(self.sub, self.del_, self.ins, self.words)


def score(result: UtteranceResult) -> ScoredUtterance:
    """Align one decoded utterance; raises InputError when it has no reference."""
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
        alignment=tuple(Step(**step) for step in alignment),
        speaker=result.speaker,
    )


def write_hypotheses(scored: Iterable[ScoredUtterance], path: Path | str) -> None:
    """Write ``scored`` to ``path`` in one step."""
    lines = (json.dumps(to_plain(one), ensure_ascii=False, allow_nan=False) for one in scored)
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_hypotheses(path: Path | str) -> list[ScoredUtterance]:
    """Read what :func:`write_hypotheses` wrote.

    Raises InputError, with the line's number, when the file is missing or damaged.
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
    """Errors of two systems on the same utterances, ordered alike for a paired bootstrap.

    Raises InputError when an utterance is in one only, or its reference differs.
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
