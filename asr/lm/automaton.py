"""A deterministic automaton with back-off arcs, on tensors.

A state has arcs for some tokens. For every other token it goes to its back-off state, without a
token but at a cost, and is asked again; the root has an answer for every token. An n-gram model
with back-off is such an automaton (Allauzen et al. 2003), and so is a tree of phrases with the
fail arcs of Aho and Corasick (1975).

All arcs are one sorted array of ``state * V + token``, searched by bisection for all queries at
once, on any device. A back-off costs one of two weights: phrases that end with a word lose what
they have gained where the word goes on, and keep it where a new word begins.

Shape legend: S states, A arcs, V tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TokenScorer(Protocol):
    """What adds to the score of a prefix by its tokens: a language model, or hotwords.

    A state is a whole number that stands for what the scorer remembers of a prefix.
    """

    @property
    def start(self) -> int:
        """The state of the empty prefix."""

    def for_search(self) -> TokenScorer:
        """What one search asks: itself, or a copy that keeps what that search needs."""

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (natural logarithm, weighted) of tokens behind states, and the next states.

        Both arguments are int64 and broadcast against each other; the results have the common
        shape, on the device of the arguments. ``states`` holds every state that the search may
        still ask for.
        """

    def finish(self, states: Tensor) -> Tensor:
        """Scores of ending in these states."""


@dataclass(frozen=True, slots=True)
class Arcs:
    """The tables of an automaton; state 0 is the root, which has no back-off.

    ``keys_A`` int64, ascending, ``weights_A`` float64, ``targets_A`` int64; ``backoff_S`` int64,
    ``backoff_weights_S2`` float64, of tokens that go on with a word and that begin one;
    ``ends_S`` float64, the score of ending there; ``root_weights_V`` and ``root_targets_V`` are
    the arcs of the root; ``begins_word_V`` bool; ``depth``, the longest chain of back-offs.
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
    """Scores tokens by ``arcs``, times ``weight``."""

    def __init__(self, arcs: Arcs, *, weight: float = 1.0) -> None:
        self.arcs = arcs
        self.start = arcs.start
        self.weight = weight
        self._on: dict[torch.device, dict[str, Tensor]] = {}

    def for_search(self) -> Automaton:
        """Itself: its tables are the same for all."""
        return self

    @property
    def num_states(self) -> int:
        """How many states there are."""
        return len(self.arcs.backoff_S)

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted scores of ``tokens`` behind ``states``, and the next states; both broadcast."""
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
        """Weighted scores of ending in ``states``."""
        return self.weight * self._arcs(states.device)["ends_S"][states]

    def _arcs(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._on:
            self._on[device] = {
                name: value.to(device)
                for name in Arcs.__dataclass_fields__
                if isinstance(value := getattr(self.arcs, name), Tensor)
            }
        return self._on[device]
