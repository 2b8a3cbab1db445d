"""A deterministic automaton with back-off arcs, on tensors.

A state has arcs for some tokens. For any other token it moves to its back-off state at a cost,
without consuming the token, and tries again; the root has an arc for every token. Examples are an
n-gram model with back-off (Allauzen et al. 2003), and a tree of phrases with the fail arcs of Aho
and Corasick (1975).

All arcs are one sorted array of ``state * V + token``. One binary search on any device finds the
arcs of all queries. A back-off has two weights, for tokens that continue a word and tokens that
begin one: a hotword keeps its score if a new word begins, and loses it if the last word goes on.

Shape legend: S states, A arcs, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TokenScorer(Protocol):
    """A scorer of tokens that a search adds to its own scores: a language model, or hotwords.

    A state is an integer that identifies the scorer's memory of a prefix.
    """

    @property
    def start(self) -> int:
        """State of the empty prefix."""

    def for_search(self) -> TokenScorer:
        """Return the scorer for one search: itself, or a copy with its own cache."""

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return weighted scores (natural log) of tokens after states, and the next states.

        Both arguments are int64 and broadcast against each other; the results have the common
        shape, on the device of the arguments. ``states`` holds all states that the search still
        uses.
        """

    def finish(self, states: Tensor) -> Tensor:
        """Return the scores of ending in these states."""


def advance_all(
    scorers: Sequence[TokenScorer], states: Sequence[Tensor], tokens: Tensor
) -> tuple[Tensor | float, list[Tensor]]:
    """Sum the scores of ``tokens`` by all ``scorers``; return it and their next states."""
    total: Tensor | float = 0.0
    following = []
    for scorer, of_scorer in zip(scorers, states, strict=True):
        scores, after = scorer.advance(of_scorer, tokens)
        total = total + scores
        following.append(after)
    return total, following


def finish_all(scorers: Sequence[TokenScorer], states: Sequence[Tensor]) -> Tensor | float:
    """Sum the scores of ending in ``states`` by all ``scorers``."""
    total: Tensor | float = 0.0
    for scorer, of_scorer in zip(scorers, states, strict=True):
        total = total + scorer.finish(of_scorer)
    return total


@dataclass(frozen=True, slots=True)
class Arcs:
    """The tables of an automaton; state 0 is the root, which has no back-off.

    Attributes:
        keys_A, weights_A, targets_A: arcs: ascending int64 keys, float64 weights, int64 states.
        backoff_S: int64, the back-off state of each state.
        backoff_weights_S2: float64, for tokens that continue a word, and that begin one.
        ends_S: float64, the score of ending in each state.
        root_weights_V, root_targets_V: arcs of the root.
        begins_word_V: bool, whether a token begins a word.
        depth: length of the longest chain of back-offs.
        start: the state of the empty prefix.
    """

    keys_A: Tensor
    weights_A: Tensor
    targets_A: Tensor
    backoff_S: Tensor
    backoff_weights_S2: Tensor
    ends_S: Tensor
    root_weights_V: Tensor
    root_targets_V: Tensor
    begins_word_V: Tensor
    depth: int
    start: int = 0


class Automaton:
    """A `TokenScorer` with the scores of ``arcs`` times ``weight``."""

    def __init__(self, arcs: Arcs, *, weight: float = 1.0) -> None:
        self.arcs = arcs
        self.start = arcs.start
        self.weight = weight
        self._on: dict[torch.device, dict[str, Tensor]] = {}

    def for_search(self) -> Automaton:
        """Return itself: all searches share the tables."""
        return self

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.arcs.backoff_S)

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return weighted scores of ``tokens`` after ``states``, and the next states."""
        arcs = self._arcs(states.device)
        keys_A, backoff_S = arcs["keys_A"], arcs["backoff_S"]
        vocab_size = len(self.arcs.root_weights_V)
        shape = (states + tokens).shape
        states, tokens = states.expand(shape), tokens.expand(shape)
        kind = arcs["begins_word_V"][tokens].long()
        scores = torch.zeros(shape, dtype=torch.float64, device=states.device)
        found = torch.zeros(shape, dtype=torch.bool, device=states.device)
        target = torch.zeros_like(states)
        for _ in range(self.arcs.depth):
            key = states * vocab_size + tokens
            place = torch.searchsorted(keys_A, key).clamp_max(len(keys_A) - 1)
            is_arc = (keys_A[place] == key) & ~found & (states != 0)
            scores = torch.where(is_arc, scores + arcs["weights_A"][place], scores)
            target = torch.where(is_arc, arcs["targets_A"][place], target)
            found = found | is_arc
            goes_back = ~found & (states != 0)
            cost = arcs["backoff_weights_S2"][states, kind]
            scores = torch.where(goes_back, scores + cost, scores)
            states = torch.where(goes_back, backoff_S[states], states)
        scores = torch.where(found, scores, scores + arcs["root_weights_V"][tokens])
        target = torch.where(found, target, arcs["root_targets_V"][tokens])
        return self.weight * scores, target

    def finish(self, states: Tensor) -> Tensor:
        """Return the weighted scores of ending in ``states``."""
        return self.weight * self._arcs(states.device)["ends_S"][states]

    def _arcs(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._on:
            self._on[device] = {
                name: value.to(device)
                for name in Arcs.__dataclass_fields__
                if isinstance(value := getattr(self.arcs, name), Tensor)
            }
        return self._on[device]
