"""Hotwords: phrases that are made more likely, in any spelling that the tokenizer can make.

The phrases are a tree of characters, with the fail arcs of Aho and Corasick (1975). A token moves
by all its characters at once, so that every way to cut a phrase into tokens is in the tree. Every
character of a phrase adds to the score, a phrase that breaks off pays back what it gained, and a
phrase counts only where a word ends behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr.errors import InputError, printable
from asr.files import read_bytes
from asr.lm.automaton import Arcs, Automaton
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START, Tokenizer

MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Hotword:
    """A phrase, and how many times as much as others it counts."""

    phrase: str
    boost: float = 1.0


def read_hotwords(path: Path) -> list[Hotword]:
    """A phrase a line, perhaps with a tab and its boost behind it; empty lines are skipped.

    Raises:
        InputError: no such file, not UTF-8, no phrase in it, or a boost that is not a number from
            0 to 100.
    """
    try:
        text = read_bytes(path, most=MAX_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        phrase, tab, boost = line.partition("\t")
        if not phrase.strip():
            continue
        found.append(Hotword(phrase.strip(), _boost(boost, f"{path}:{number}") if tab else 1.0))
    if not found:
        raise InputError(f"{path}: no hotwords, one is expected on each line")
    return found


def _boost(text: str, where: str) -> float:
    try:
        boost = float(text)
    except ValueError:
        boost = float("nan")
    if not 0 <= boost <= 100:
        raise InputError(
            f"{where}: {printable(text)!r} is no boost; a number from 0 to 100 is expected "
            "behind the tab"
        )
    return boost


def hotword_automaton(
    hotwords: Iterable[Hotword],
    tokenizer: Tokenizer,
    *,
    normalize: Callable[[str], str] = str,
    weight: float = 1.0,
) -> Automaton:
    """The automaton of ``hotwords``, spelt as ``normalize`` spells transcripts.

    A phrase that was said adds ``weight`` times its boost for each of its characters, but spaces.
    Phrases count within each other, too; one that goes on another adds what it has more.

    Raises:
        InputError: a phrase that the tokenizer cannot write, or of which nothing is left.
    """
    tree = _Tree()
    for hotword in hotwords:
        spelt = " ".join(normalize(hotword.phrase).split())
        if not spelt:
            raise InputError(f"hotword {printable(hotword.phrase)!r}: the model writes none of it")
        if unknown := tokenizer.unknown_characters(spelt):
            raise InputError(
                f"hotword {printable(hotword.phrase)!r}: the model cannot write "
                f"{' '.join(map(printable, unknown))}"
            )
        characters = spelt.replace(" ", WORD_START)
        tree.add(characters if is_unspaced(spelt) else WORD_START + characters, hotword.boost)
    return Automaton(_arcs(tree, tokenizer), weight=weight)


class _Tree:
    """A tree of characters. Node 0 is the root; a node has a greater number than its parent.

    ``gains`` is what the characters from the root to a node add.
    """

    def __init__(self) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.gains: list[float] = [0.0]
        self.is_end: list[bool] = [False]

    def add(self, characters: str, boost: float) -> None:
        """Add a phrase; where phrases share nodes the greater boost counts."""
        node, gain = 0, 0.0
        for character in characters:
            gain += boost * (character != WORD_START)
            following = self.children[node].get(character)
            if following is None:
                following = self.children[node][character] = len(self.children)
                self.children.append({})
                self.gains.append(gain)
                self.is_end.append(False)
            else:
                self.gains[following] = max(self.gains[following], gain)
            node = following
        self.is_end[node] = True


@dataclass(frozen=True, slots=True)
class _Scores:
    """Of every node: where it fails to, what is at risk in it, what it keeps where a word ends."""

    fails: list[int]
    at_risk: list[float]
    own: list[float]
    kept: list[float]
    depth: int


def _scores(tree: _Tree) -> _Scores:
    """Breadth first: the longest suffix of a node that is a node too, and the scores."""
    size = len(tree.children)
    fails, depths = [0] * size, [0] * size
    at_risk, own, kept = [0.0] * size, [0.0] * size, [0.0] * size
    queue = deque([0])
    while queue:
        node = queue.popleft()
        for character, child in tree.children[node].items():
            if node:
                back = fails[node]
                while back and character not in tree.children[back]:
                    back = fails[back]
                fails[child] = tree.children[back].get(character, 0)
            gain = tree.gains[child] - tree.gains[node]
            at_risk[child] = at_risk[node] + gain - (own[node] if _begins_word(character) else 0.0)
            own[child] = at_risk[child] if tree.is_end[child] else 0.0
            kept[child] = own[child] + kept[fails[child]]
            depths[child] = depths[fails[child]] + 1
            queue.append(child)
    return _Scores(fails, at_risk, own, kept, max(depths))


def _arcs(tree: _Tree, tokenizer: Tokenizer) -> Arcs:
    """All moves by whole tokens: the tree of pieces is walked along with that of phrases."""
    scores = _scores(tree)
    vocabulary = tokenizer.vocabulary
    pieces: dict[str, Any] = {}
    for token, piece in enumerate(vocabulary):
        if token <= tokenizer.unk_id:
            continue
        spaceless = piece.removeprefix(WORD_START)  # sentencepiece begins every text with a space
        for spelt in {piece, spaceless} if is_unspaced(piece) else {piece}:
            branch = pieces
            for character in spelt:
                branch = branch.setdefault(character, {})
            branch.setdefault("", []).append(token)
    keys, weights, targets = [], [], []
    for source in range(len(tree.children)):
        open_moves: list[tuple[int, dict[str, Any], float]] = [(source, pieces, 0.0)]
        while open_moves:
            node, branch, extra = open_moves.pop()
            for character, child in tree.children[node].items():
                longer = branch.get(character)
                if longer is None:
                    continue
                more = extra
                if node and _begins_word(character):  # suffixes of the node are phrases, said now
                    more += scores.kept[scores.fails[node]]
                for token in longer.get("", ()):
                    keys.append(source * len(vocabulary) + token)
                    weights.append(tree.gains[child] - tree.gains[source] + more)
                    targets.append(child)
                open_moves.append((child, longer, more))
    keys_A, order_A = torch.tensor(keys, dtype=torch.int64).sort()
    weights_A = torch.tensor(weights, dtype=torch.float64)[order_A]
    targets_A = torch.tensor(targets, dtype=torch.int64)[order_A]
    root_weights_V = torch.zeros(len(vocabulary), dtype=torch.float64)
    root_targets_V = torch.zeros(len(vocabulary), dtype=torch.int64)
    is_root_A = keys_A < len(vocabulary)
    root_weights_V[keys_A[is_root_A]] = weights_A[is_root_A]
    root_targets_V[keys_A[is_root_A]] = targets_A[is_root_A]
    at_risk_S = torch.tensor(scores.at_risk, dtype=torch.float64)
    fails_S = torch.tensor(scores.fails)
    inside_S = at_risk_S[fails_S] - at_risk_S
    own_S = torch.tensor(scores.own, dtype=torch.float64)
    return Arcs(
        keys_A=keys_A,
        weights_A=weights_A,
        targets_A=targets_A,
        backoff_S=fails_S,
        backoff_weights_S2=torch.stack([inside_S, inside_S + own_S], 1),
        ends_S=torch.tensor(scores.kept, dtype=torch.float64) - at_risk_S,
        root_weights_V=root_weights_V,
        root_targets_V=root_targets_V,
        begins_word_V=torch.tensor([_begins_word(piece) for piece in vocabulary]),
        depth=scores.depth,
    )


def _begins_word(piece: str) -> bool:
    """Whether a word ends before these characters; in scripts without spaces one always does."""
    return piece.startswith(WORD_START) or is_unspaced(piece)
