"""A prefix tree of spellings in arrays, built for all spellings at once, depth by depth.

Shape legend: P spellings, C characters of all spellings, S nodes, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpellingTree:
    """A prefix tree of spellings. Node 0 is the root; nodes are ordered by depth, then by key.

    Attributes:
        alphabet: number of different characters.
        keys_S: parent times ``alphabet`` plus character, ascending; so children are adjacent.
        gains_S: largest score of any spelling at the node.
        levels: first node of each depth from 1 on, and the number of nodes.
        ends_P: node where each spelling ends.
    """

    alphabet: int
    keys_S: Ints
    gains_S: Floats
    levels: tuple[int, ...]
    ends_P: Ints

    @classmethod
    def of(
        cls, characters_C: Ints, lengths_P: Ints, gains_C: Floats, *, alphabet: int
    ) -> SpellingTree:
        """Build the tree of concatenated spellings; characters are below ``alphabet``.

        ``gains_C`` is the score of a spelling up to each of its characters.
        """
        starts_P = np.cumsum(lengths_P) - lengths_P
        longest_first_P = np.argsort(-lengths_P, kind="stable")
        starts_P, descending_P = starts_P[longest_first_P], -lengths_P[longest_first_P]
        nodes_P = np.zeros(len(lengths_P), dtype=np.int64)
        keys, gains, levels = [np.array([-1])], [np.zeros(1)], [1]
        for depth in range(int(lengths_P.max(initial=0))):
            num_longer = int(np.searchsorted(descending_P, -depth, side="left"))
            places = starts_P[:num_longer] + depth
            found, which = np.unique(
                nodes_P[:num_longer] * alphabet + characters_C[places], return_inverse=True
            )
            gained = np.full(len(found), -np.inf)
            np.maximum.at(gained, which, gains_C[places])
            nodes_P[:num_longer] = levels[-1] + which
            keys.append(found)
            gains.append(gained)
            levels.append(levels[-1] + len(found))
        ends_P = np.empty_like(nodes_P)
        ends_P[longest_first_P] = nodes_P
        return cls(alphabet, np.concatenate(keys), np.concatenate(gains), tuple(levels), ends_P)

    def __len__(self) -> int:
        return len(self.keys_S)

    @property
    def parents_S(self) -> Ints:  # noqa: N802
        """Parent of each node; -1 for the root."""
        return self.keys_S // self.alphabet

    @property
    def characters_S(self) -> Ints:  # noqa: N802
        """Last character of each node; undefined for the root."""
        return self.keys_S % self.alphabet

    def children(self, nodes_Q: Ints, characters_Q: Ints) -> Ints:
        """Return the child of each node by a character; 0 if there is none."""
        keys_Q = nodes_Q * self.alphabet + characters_Q
        places_Q = np.searchsorted(self.keys_S, keys_Q)
        places_Q[places_Q == len(self)] = 0
        return np.where(self.keys_S[places_Q] == keys_Q, places_Q, 0)

    def fails(self) -> Ints:
        """Return (S,) each node's longest suffix that is a node too (Aho and Corasick 1975)."""
        fails_S = np.zeros(len(self), dtype=np.int64)
        parents_S, characters_S = self.parents_S, self.characters_S
        for first, end in zip(self.levels[1:], self.levels[2:], strict=False):
            nodes = np.arange(first, end)  # from depth 2; those of depth 1 fail to the root
            backs = fails_S[parents_S[nodes]]
            while len(nodes):
                found = self.children(backs, characters_S[nodes])
                fails_S[nodes] = found
                goes_on = (found == 0) & (backs != 0)
                nodes, backs = nodes[goes_on], fails_S[backs[goes_on]]
        return fails_S


def characters_of(spellings: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the code points (C,) of the concatenated spellings, and their lengths (P,)."""
    text = "".join(spellings).encode("utf-32-le", errors="surrogatepass")
    lengths_P = np.fromiter(map(len, spellings), dtype=np.int64, count=len(spellings))
    return np.frombuffer(text, dtype="<u4").astype(np.int64), lengths_P


def repeated(counts_Q: Ints) -> tuple[Ints, Ints]:
    """Repeat each index ``counts_Q`` times; return the indices and the repetitions' numbers."""
    of_Q = np.repeat(np.arange(len(counts_Q)), counts_Q)
    return of_Q, np.arange(len(of_Q)) - np.repeat(np.cumsum(counts_Q) - counts_Q, counts_Q)
