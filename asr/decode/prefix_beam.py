"""Prefix beam search for CTC (Graves 2012, section 7.5.3; Hannun et al. 2014), on tensors.

A prefix is a sequence of tokens. Its probability is the sum over all paths that spell it, in two
parts: paths that end in a blank, and paths that end in its last token. If an extended prefix is
already in the beam, both sums are added. All prefixes of a beam differ, so only an extended prefix
and an unchanged one can be equal: comparing K x K hashes of 64 bits finds every such pair without
sorting.

All utterances of a batch and all prefixes of a beam advance together, frame by frame, on any
device.

Shape legend: B batch, T frames, V vocabulary, K prefixes of a beam, C tokens of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.lm.automaton import TokenScorer, advance_all, finish_all
from asr.types import ScoredTokens

_FACTOR = 6364136223846793005  # Knuth's, for the polynomial hash modulo 2^64
NO_PREFIX, NO_PARENT = -1, -2  # hashes of an empty place in the beam, and of the root's parent
NO_TOKEN = -1
NEVER = float("-inf")


class PrefixSearch:
    """The beam of a batch, advanced by any number of frames at a time.

    Args:
        batch: utterances.
        beam: prefixes kept after every frame.
        tokens_per_frame: the most probable tokens of a frame extend prefixes; None: all of them.
        blank_id: the token of the blank.
        scorers: what adds to the scores.
        device: where the log probabilities are.
    """

    def __init__(
        self,
        batch: int,
        *,
        beam: int,
        tokens_per_frame: int | None,
        blank_id: int,
        scorers: Sequence[TokenScorer],
        device: torch.device,
    ) -> None:
        self._tokens_per_frame = tokens_per_frame
        self._blank_id = blank_id
        self._scorers = [scorer.for_search() for scorer in scorers]
        self._now = _Prefixes.empty(batch, beam, self._scorers, device)
        self._skipped_B = torch.zeros(batch, dtype=torch.float64, device=device)
        self._moves: list[Move] = []
        self._trace = Trace()

    def advance(self, log_probs_BTV: Tensor, skipped_B: Tensor) -> None:
        """Search more frames; those after the end of an utterance must be blanks of probability 1.

        ``skipped_B`` is the log probability of frames that were left out.
        """
        vocab_size, blank_id = log_probs_BTV.shape[2], self._blank_id
        num_tokens = min(self._tokens_per_frame or vocab_size, vocab_size - 1)
        tokens_BTV = log_probs_BTV.clone()
        tokens_BTV[..., blank_id] = NEVER
        scores_BTC, ids_BTC = tokens_BTV.topk(num_tokens)
        scores_BTC = scores_BTC.double()
        for frame in range(log_probs_BTV.shape[1]):
            frame_BV, blank_B1 = log_probs_BTV[:, frame], log_probs_BTV[:, frame, blank_id, None]
            self._now, move = _advance(
                self._now,
                frame_BV,
                blank_B1,
                scores_BTC[:, frame],
                ids_BTC[:, frame],
                self._scorers,
            )
            self._moves.append(move)
        self._skipped_B = self._skipped_B + skipped_B

    def found(self) -> list[list[ScoredTokens]]:
        """Return the sequences of each utterance, best first, including end scores."""
        acoustic_BK = torch.logaddexp(self._now.blank, self._now.token)
        acoustic_BK = acoustic_BK + self._skipped_B.unsqueeze(1)
        added_BK = self._now.sequences.finished(self._scorers)
        return _read_out(self._moves, acoustic_BK, added_BK)

    def best(self) -> list[AddedToken]:
        """Return the tokens of the best prefix of a batch of one, without end scores."""
        now = self._now
        place = (torch.logaddexp(now.blank, now.token) + now.sequences.added)[0].argmax()
        return self._trace.steps(self._moves, int(place))


class AddedToken(NamedTuple):
    """A token of a sequence: the move that added it, and its place in the beam after the move."""

    move: int
    place: int
    token: int


class Trace:
    """Traces sequences of a batch of one back through moves; reads each move once."""

    def __init__(self) -> None:
        self._moves: list[tuple[list[int], list[int]]] = []

    def steps(self, moves: Sequence[Move], place: int) -> list[AddedToken]:
        """Return the tokens of the sequence at ``place`` in the last beam, in order."""
        if new := moves[len(self._moves) :]:
            sources = torch.stack([move.source_BK[0] for move in new]).tolist()
            tokens = torch.stack([move.token_BK[0] for move in new]).tolist()
            self._moves += zip(sources, tokens, strict=True)
        found = []
        for index in reversed(range(len(self._moves))):
            sources_K, tokens_K = self._moves[index]
            if tokens_K[place] != NO_TOKEN:
                found.append(AddedToken(index, place, tokens_K[place]))
            place = sources_K[place]
        return found[::-1]


@dataclass(slots=True)
class Sequences:
    """K different token sequences of each utterance, (B, K) each.

    ``states`` holds the states (B, K) of every scorer, ``added`` the scorers' total, ``last`` the
    last token and ``parents`` the hash of the sequence without it.
    """

    added: Tensor
    last: Tensor
    hashes: Tensor
    parents: Tensor
    states: list[Tensor]

    @classmethod
    def empty(
        cls, batch: int, beam: int, scorers: Sequence[TokenScorer], device: torch.device
    ) -> Sequences:
        """Make the empty sequence in the first place of every utterance; other places are empty."""

        def full(value: int) -> Tensor:
            return torch.full((batch, beam), value, device=device)

        hashes = full(NO_PREFIX)
        hashes[:, 0] = 0
        return cls(
            added=torch.zeros(batch, beam, dtype=torch.float64, device=device),
            last=full(0),
            hashes=hashes,
            parents=full(NO_PARENT),
            states=[full(scorer.start) for scorer in scorers],
        )

    def finished(self, scorers: Sequence[TokenScorer]) -> Tensor:
        """Return the scorers' total (B, K) with the scores of ending."""
        return self.added + finish_all(scorers, self.states)

    def candidates(self, ids_BKC: Tensor, scorers: Sequence[TokenScorer]) -> Candidates:
        """Return these sequences, followed by each of them extended by each of its C tokens."""
        scores_BKC, following = advance_all(
            scorers, [states_BK.unsqueeze(2) for states_BK in self.states], ids_BKC
        )
        added_BKC = self.added.unsqueeze(2).expand_as(ids_BKC) + scores_BKC
        return Candidates(
            before=self,
            ids_BKC=ids_BKC,
            added=torch.cat([self.added, added_BKC.flatten(1)], 1),
            states=[
                torch.cat([states_BK, after_BKC.flatten(1)], 1)
                for states_BK, after_BKC in zip(self.states, following, strict=True)
            ],
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates for the next beam, (B, K + K * C) each."""

    before: Sequences
    ids_BKC: Tensor
    added: Tensor
    states: list[Tensor]

    def chosen(self, chosen_BK: Tensor, is_empty_BK: Tensor) -> tuple[Sequences, Move]:
        """Return the candidates at ``chosen_BK``; places where ``is_empty_BK`` become empty."""
        before, (_, beam, num_tokens) = self.before, self.ids_BKC.shape
        is_longer_BK = chosen_BK >= beam
        extension_BK = (chosen_BK - beam).clamp_min(0)
        source_BK = torch.where(
            is_longer_BK,
            torch.div(extension_BK, num_tokens, rounding_mode="floor"),
            chosen_BK,
        )
        token_BK = self.ids_BKC.flatten(1).gather(1, extension_BK)
        hashes = before.hashes.gather(1, source_BK)
        longer = hashes * _FACTOR + (token_BK + 1)
        parents = torch.where(is_longer_BK, hashes, before.parents.gather(1, source_BK))
        following = Sequences(
            added=self.added.gather(1, chosen_BK),
            last=torch.where(is_longer_BK, token_BK, before.last.gather(1, source_BK)),
            hashes=torch.where(is_longer_BK, longer, hashes).masked_fill(is_empty_BK, NO_PREFIX),
            parents=parents.masked_fill(is_empty_BK, NO_PARENT),
            states=[states.gather(1, chosen_BK) for states in self.states],
        )
        return following, Move(source_BK, torch.where(is_longer_BK, token_BK, NO_TOKEN))


@dataclass(frozen=True, slots=True)
class Move:
    """Parent of each sequence in the beam before (B, K), and the new token, or `NO_TOKEN`."""

    source_BK: Tensor
    token_BK: Tensor

    @property
    def is_longer_BK(self) -> Tensor:  # noqa: N802
        """Whether there is a new token."""
        return self.token_BK != NO_TOKEN


@dataclass(slots=True)
class _Prefixes:
    """The beam of CTC, with log sums (B, K) over paths that end in a blank or the last token."""

    sequences: Sequences
    blank: Tensor
    token: Tensor

    @classmethod
    def empty(
        cls, batch: int, beam: int, scorers: Sequence[TokenScorer], device: torch.device
    ) -> _Prefixes:
        """Make a beam with the empty prefix at probability 1."""
        sequences = Sequences.empty(batch, beam, scorers, device)
        never = torch.full_like(sequences.added, NEVER)
        return cls(sequences, torch.where(sequences.hashes == 0, 0.0, never), never)


def _advance(
    now: _Prefixes,
    frame_BV: Tensor,
    blank_B1: Tensor,
    scores_BC: Tensor,
    ids_BC: Tensor,
    scorers: Sequence[TokenScorer],
) -> tuple[_Prefixes, Move]:
    """Advance the beam by one frame."""
    those = now.sequences
    beam = those.last.shape[1]
    ids_B1C = ids_BC.unsqueeze(1)
    total = torch.logaddexp(now.blank, now.token)
    again = frame_BV.gather(1, those.last)  # log probability of repeating the last token

    # Unchanged prefix j (second dimension) equals i (third) extended by the last token of j.
    is_parent_BKK = those.parents.unsqueeze(2) == those.hashes.unsqueeze(1)
    is_same_BKK = those.last.unsqueeze(2) == those.last.unsqueeze(1)
    from_parent = torch.where(is_same_BKK, now.blank.unsqueeze(1), total.unsqueeze(1))
    arriving = torch.where(is_parent_BKK, from_parent, NEVER).amax(-1)
    stay_token = torch.logaddexp(now.token, arriving) + again
    stay_blank = total + blank_B1

    # Extension by a prefix's own last token needs a blank between.
    is_repeated_BKC = those.last.unsqueeze(2) == ids_B1C
    longer = torch.where(is_repeated_BKC, now.blank.unsqueeze(2), total.unsqueeze(2))
    longer = longer + scores_BC.unsqueeze(1)
    is_in_beam_BKC = is_parent_BKK.transpose(1, 2).float() @ is_repeated_BKC.float() > 0
    longer = longer.masked_fill(is_in_beam_BKC, NEVER).flatten(1)

    candidates = those.candidates(ids_B1C.expand(-1, beam, -1), scorers)
    ending_in_token = torch.cat([stay_token, longer], 1)
    score = torch.cat([torch.logaddexp(stay_blank, stay_token), longer], 1) + candidates.added
    best, chosen_BK = score.topk(beam)
    sequences, move = candidates.chosen(chosen_BK, best == NEVER)
    blank = torch.where(move.is_longer_BK, NEVER, stay_blank.gather(1, move.source_BK))
    return _Prefixes(sequences, blank, ending_in_token.gather(1, chosen_BK)), move


def _read_out(
    steps: Sequence[Move], acoustic_BK: Tensor, added_BK: Tensor
) -> list[list[ScoredTokens]]:
    """Trace every prefix of the last beam back to its first token."""
    score_BK, order_BK = (acoustic_BK + added_BK).sort(dim=1, descending=True, stable=True)
    place_BK = order_BK.cpu().numpy()
    rows = np.arange(len(place_BK))[:, np.newaxis]
    tokens_TBK = np.full((len(steps), *place_BK.shape), NO_TOKEN)
    if steps:
        from_TBK = torch.stack([move.source_BK for move in steps]).cpu().numpy()
        added_TBK = torch.stack([move.token_BK for move in steps]).cpu().numpy()
        for frame in reversed(range(len(steps))):
            tokens_TBK[frame] = added_TBK[frame][rows, place_BK]
            place_BK = from_TBK[frame][rows, place_BK]
    acoustic = acoustic_BK.gather(1, order_BK).tolist()
    added = added_BK.gather(1, order_BK).tolist()
    return [
        [
            ScoredTokens(
                token_ids=_without_gaps(tokens_TBK[:, row, place]),
                acoustic=acoustic[row][place],
                added=added[row][place],
            )
            for place, score in enumerate(scores)
            if place == 0 or score > NEVER
        ]
        for row, scores in enumerate(score_BK.tolist())
    ]


def _without_gaps(tokens_T: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(tokens_T[tokens_T != NO_TOKEN].tolist())
