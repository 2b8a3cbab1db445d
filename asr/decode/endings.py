"""Ended hypotheses of an utterance, and end detection of its search."""

from __future__ import annotations

from dataclasses import dataclass, field

from asr.errors import InputError
from asr.types import ScoredTokens

_NEVER = float("-inf")
_LENGTHS, _WORSE = 3, -10.0  # end detection: hypothesis lengths, and difference in score


@dataclass(frozen=True, slots=True)
class Ending:
    """An ended hypothesis; ``is_stopped`` is True if it ended because it could not be extended.

    ``score`` includes ``added``, the total of the scorers. ``lost`` is the log probability by which
    its tokens are acoustically worse than the best tokens.
    """

    score: float
    token_ids: tuple[int, ...]
    is_stopped: bool
    added: float
    lost: float


@dataclass(slots=True)
class Endings:
    """The ended hypotheses of one utterance; the best ``wanted`` are the result.

    If more tokens can only lower a score, the search ends once no hypothesis in the beam can become
    one of the best ``wanted``. Otherwise it ends once the best one in the beam is worse than these
    by 10, or the best ended hypotheses of three lengths in a row are worse than the best of all by
    10 (end detection of ESPnet).
    """

    wanted: int
    found: list[Ending] = field(default_factory=list)
    num_steps: int = 0

    def is_final(self, best_alive: float, *, is_exact: bool) -> bool:
        """Return whether the search ends; ``is_exact``: more tokens can only lower a score."""
        self.num_steps += 1
        if best_alive == _NEVER:
            return True
        scores = sorted((one.score for one in self.found), reverse=True)
        bound = best_alive if is_exact else best_alive - _WORSE
        if len(scores) >= self.wanted and scores[self.wanted - 1] >= bound:
            return True
        if is_exact:
            return False
        lengths = range(max(0, self.num_steps - _LENGTHS), self.num_steps)
        best_of_lengths = [
            max((one.score for one in self.found if len(one.token_ids) == length), default=None)
            for length in lengths
        ]
        return len(lengths) == _LENGTHS and all(
            best is not None and best - scores[0] < _WORSE for best in best_of_lengths
        )

    @property
    def is_stopped(self) -> bool:
        """Whether the best hypothesis ended because it could not be extended."""
        return bool(self.found) and max(self.found, key=lambda one: one.score).is_stopped

    def best(self, number: int) -> list[ScoredTokens]:
        """Return the best ``number`` sequences; the empty one if none has ended."""
        ordered = sorted(self.found, key=lambda one: -one.score)[:number]
        return [
            ScoredTokens(one.token_ids, one.score - one.added, one.added) for one in ordered
        ] or [ScoredTokens((), 0.0)]

    def lost(self, token_ids: tuple[int, ...]) -> float:
        """Return the log probability by which a sequence is acoustically worse; 0 if unknown."""
        return next((one.lost for one in self.found if one.token_ids == token_ids), 0.0)


def check_n_best(n_best: int, beam: int) -> None:
    """Raise InputError if ``n_best`` is above ``beam``."""
    if n_best > beam:
        raise InputError(f"decode.n_best={n_best}: allowed: at most decode.beam={beam}")
