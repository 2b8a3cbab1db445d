"""Word and character errors of one utterance, and of a corpus.

A corpus rate sums errors and words over the utterances before dividing; it is not a mean of rates.
Text is compared as given, except for white space: to ignore case or punctuation, normalise
reference and hypothesis first. In scripts without spaces between words (Chinese, Japanese, Thai, …)
a character counts as a word and spaces do not count, because word boundaries there depend on the
segmenter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from asr.errors import InputError
from asr.metrics.alternatives import best_reading
from asr.text.script import is_unspaced
from asr.types import UtteranceResult

if TYPE_CHECKING:
    import jiwer

Operation = Literal["equal", "sub", "del", "ins"]


class AlignedWord(TypedDict):
    """One step of an alignment; ``ref`` is None at an insertion, ``hyp`` at a deletion."""

    op: Operation
    ref: str | None
    hyp: str | None


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Substitutions, deletions and insertions against ``words`` reference words.

    The sum of two is the count over both texts. For a character error rate the "words" are
    characters, spaces included.
    """

    sub: int = 0
    del_: int = 0
    ins: int = 0
    words: int = 0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.sub + other.sub,
            self.del_ + other.del_,
            self.ins + other.ins,
            self.words + other.words,
        )

    @classmethod
    def total(cls, errors: Iterable[WordErrors]) -> WordErrors:
        """Return the sum of ``errors``; all zero if there are none."""
        return sum(errors, start=cls())

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.sub + self.del_ + self.ins

    @property
    def wer(self) -> float:
        """Errors per reference word in percent; NaN without reference words."""
        return 100.0 * self.errors / self.words if self.words else math.nan


def align_words(ref: str, hyp: str) -> tuple[WordErrors, list[AlignedWord]]:
    """Align two texts word by word with the fewest errors (Levenshtein distance).

    If the reference is empty, every word of the hypothesis is an insertion. If the reference has
    alternatives (`asr.metrics.alternatives`), the reading with the fewest errors counts.
    """
    if is_unspaced(ref or hyp):
        return align_chars(ref, hyp)
    ref = best_reading(ref, hyp.split())
    import jiwer  # late: programs that only time models import this module too

    output = jiwer.process_words(" ".join(ref.split()), " ".join(hyp.split()))
    return _errors_and_alignment(output)


def align_chars(ref: str, hyp: str) -> tuple[WordErrors, list[AlignedWord]]:
    """Like :func:`align_words`, character by character; a space between words counts as one.

    In scripts without spaces between words it does not count.
    """
    by_character = is_unspaced(ref or hyp)
    space = "" if by_character else " "
    units = "".join(hyp.split()) if by_character else hyp.split()
    ref = best_reading(ref, units, by_character=by_character)
    import jiwer

    output = jiwer.process_characters(space.join(ref.split()), space.join(hyp.split()))
    return _errors_and_alignment(output)


def corpus_wer(results: Sequence[UtteranceResult]) -> WordErrors:
    """Return the word errors summed over ``results``.

    Raises InputError if an utterance has no reference.
    """
    return WordErrors.total(align_words(reference_of(one), one.hyp)[0] for one in results)


def corpus_cer(results: Sequence[UtteranceResult]) -> WordErrors:
    """Return the character errors summed over ``results``; raise as :func:`corpus_wer` does."""
    return WordErrors.total(align_chars(reference_of(one), one.hyp)[0] for one in results)


def reference_of(result: UtteranceResult) -> str:
    """Return the reference transcript; raise InputError if there is none."""
    if result.ref is None:
        raise InputError(
            f"utterance {result.utterance_id!r} has no reference transcript; "
            "an error rate needs one for every utterance"
        )
    return result.ref


def _errors_and_alignment(
    output: jiwer.WordOutput | jiwer.CharacterOutput,
) -> tuple[WordErrors, list[AlignedWord]]:
    ref: list[str] = output.references[0]
    hyp: list[str] = output.hypotheses[0]
    alignment: list[AlignedWord] = []
    for chunk in output.alignments[0]:
        ref_part = ref[chunk.ref_start_idx : chunk.ref_end_idx]
        hyp_part = hyp[chunk.hyp_start_idx : chunk.hyp_end_idx]
        match chunk.type:
            case "equal" | "substitute":
                op: Operation = "equal" if chunk.type == "equal" else "sub"
                pairs = zip(ref_part, hyp_part, strict=True)
                alignment += [AlignedWord(op=op, ref=r, hyp=h) for r, h in pairs]
            case "delete":
                alignment += [AlignedWord(op="del", ref=r, hyp=None) for r in ref_part]
            case "insert":
                alignment += [AlignedWord(op="ins", ref=None, hyp=h) for h in hyp_part]
            case other:
                raise AssertionError(f"unknown alignment step {other!r}")
    errors = WordErrors(
        sub=output.substitutions, del_=output.deletions, ins=output.insertions, words=len(ref)
    )
    return errors, alignment
