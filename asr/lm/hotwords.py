"""Hotwords: phrases made more likely in a search, in every segmentation into tokens.

The phrases form a tree of characters with the fail arcs of Aho and Corasick (1975). A token moves
by all its characters at once, so the tree covers every way to cut a phrase into tokens. Every
character of a phrase adds to the score. A phrase that breaks off gives its gain back, and a phrase
counts only if it ends at the end of a word.

Shape legend: P phrases or pieces, C their characters, S nodes of the tree of phrases, A arcs,
V tokens, F positions of a walk, each a node of the tree of phrases and one of the tree of pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import InputError, printable
from asr.files import read_bytes
from asr.lm.automaton import Arcs, Automaton
from asr.lm.spelling_tree import Floats, Ints, SpellingTree, characters_of, repeated
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START, Tokenizer, is_word_start

MAX_HOTWORDS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Hotword:
    """A phrase, and a factor on its score."""

    phrase: str
    boost: float = 1.0


def read_hotwords(path: Path) -> list[Hotword]:
    """Read one phrase per line, optionally followed by a tab and its boost; skip empty lines.

    Raises:
        InputError: the file is missing, not UTF-8 or empty, or a boost is not a number from 0 to
            100.
    """
    try:
        text = read_bytes(path, most=MAX_HOTWORDS_BYTES).decode("utf-8-sig")
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
            f"{where}: {printable(text)!r} is not a boost; expected a number from 0 to 100 "
            "after the tab"
        )
    return boost


def hotword_automaton(
    hotwords: Iterable[Hotword],
    tokenizer: Tokenizer,
    *,
    normalize: Callable[[str], str] = str,
    weight: float = 1.0,
) -> Automaton:
    """Build the automaton of ``hotwords``, spelt as ``normalize`` spells transcripts.

    A phrase that occurs adds ``weight`` times its boost for each of its characters except spaces.
    A phrase inside another counts too; one that extends another adds only the difference.

    Raises:
        InputError: a phrase is empty after ``normalize``, or the tokenizer cannot write it.
    """
    phrases: list[str] = []
    boosts: list[float] = []
    for hotword in hotwords:
        spelt = " ".join(normalize(hotword.phrase).split())
        if not spelt:
            raise InputError(f"hotword {printable(hotword.phrase)!r}: its spelling is empty")
        if unknown := tokenizer.unknown_characters(spelt):
            raise InputError(
                f"hotword {printable(hotword.phrase)!r}: the model cannot write "
                f"{' '.join(map(printable, unknown))}"
            )
        characters = spelt.replace(" ", WORD_START)
        phrases.append(characters if is_unspaced(spelt) else WORD_START + characters)
        boosts.append(hotword.boost)
    return Automaton(_arcs(phrases, np.array(boosts), tokenizer), weight=weight)


def _arcs(phrases: Sequence[str], boosts_P: Floats, tokenizer: Tokenizer) -> Arcs:
    """Build all arcs by whole tokens, from a joint walk of the trees of pieces and phrases."""
    codes_C, lengths_P = characters_of(phrases)
    alphabet, characters_C = np.unique(codes_C, return_inverse=True)
    letters = [chr(code) for code in alphabet]
    begins_word = np.array([is_word_start(letter) for letter in letters])
    written_C = np.cumsum(codes_C != ord(WORD_START))
    before_P = np.concatenate([[0], written_C])[np.cumsum(lengths_P) - lengths_P]
    gains_C = np.repeat(boosts_P, lengths_P) * (written_C - np.repeat(before_P, lengths_P))
    tree = SpellingTree.of(characters_C, lengths_P, gains_C, alphabet=len(letters))
    scores = _scores(tree, begins_word)
    moves = _moves(
        tree, scores, begins_word, tokenizer, {letter: at for at, letter in enumerate(letters)}
    )
    vocab_size = len(tokenizer.vocabulary)
    keys_A, order_A = (moves.sources_A * vocab_size + moves.tokens_A).sort(stable=True)
    weights_A, targets_A = moves.weights_A[order_A], moves.targets_A[order_A]
    root_weights_V = torch.zeros(vocab_size, dtype=torch.float64)
    root_targets_V = torch.zeros(vocab_size, dtype=torch.int64)
    is_root_A = keys_A < vocab_size
    root_weights_V[keys_A[is_root_A]] = weights_A[is_root_A]
    root_targets_V[keys_A[is_root_A]] = targets_A[is_root_A]
    inside_S = scores.at_risk_S[scores.fails_S] - scores.at_risk_S
    return Arcs(
        keys_A=keys_A,
        weights_A=weights_A,
        targets_A=targets_A,
        backoff_S=torch.from_numpy(scores.fails_S),
        backoff_weights_S2=torch.from_numpy(np.stack([inside_S, inside_S + scores.own_S], 1)),
        ends_S=torch.from_numpy(scores.kept_S - scores.at_risk_S),
        root_weights_V=root_weights_V,
        root_targets_V=root_targets_V,
        begins_word_V=torch.tensor([is_word_start(piece) for piece in tokenizer.vocabulary]),
        depth=scores.depth,
    )


@dataclass(frozen=True, slots=True)
class _Scores:
    """Scores of every node of the tree of phrases.

    Attributes:
        fails_S: node of the fail arc.
        at_risk_S: gain that is lost if the phrase breaks off here.
        own_S: gain of the phrase that ends here; 0 if none does.
        kept_S: gain kept at the end of a word, with that of phrases that are suffixes.
        depth: length of the longest chain of fail arcs.
    """

    fails_S: Ints
    at_risk_S: Floats
    own_S: Floats
    kept_S: Floats
    depth: int


def _scores(tree: SpellingTree, begins_word: NDArray[np.bool_]) -> _Scores:
    """Compute scores depth by depth, as they build on those of the parent and shorter suffixes."""
    fails_S, parents_S = tree.fails(), tree.parents_S
    gains_S = tree.gains_S - tree.gains_S[parents_S]
    ends_word_S = begins_word[tree.characters_S]  # a word ends before the node
    is_end_S = np.zeros(len(tree), dtype=np.bool_)
    is_end_S[tree.ends_P] = True
    at_risk_S, own_S, kept_S = np.zeros((3, len(tree)))
    depths_S = np.zeros(len(tree), dtype=np.int64)
    for first, end in pairwise(tree.levels):
        level = slice(first, end)
        parents, fails = parents_S[level], fails_S[level]
        lost = np.where(ends_word_S[level], own_S[parents], 0.0)
        at_risk_S[level] = at_risk_S[parents] + gains_S[level] - lost
        own_S[level] = np.where(is_end_S[level], at_risk_S[level], 0.0)
        kept_S[level] = own_S[level] + kept_S[fails]
        depths_S[level] = depths_S[fails] + 1
    return _Scores(fails_S, at_risk_S, own_S, kept_S, int(depths_S.max()))


@dataclass(frozen=True, slots=True)
class _Moves:
    """Moves from a node by a token to a node, and their scores."""

    sources_A: Tensor
    tokens_A: Tensor
    targets_A: Tensor
    weights_A: Tensor


def _moves(
    tree: SpellingTree,
    scores: _Scores,
    begins_word: NDArray[np.bool_],
    tokenizer: Tokenizer,
    characters: Mapping[str, int],
) -> _Moves:
    """Walk from all nodes by all pieces at once, one character per step."""
    tokens_P, spellings = _pieces(tokenizer, characters)
    lengths_P = np.array([len(one) for one in spellings], dtype=np.int64)
    codes_C = np.array([characters[one] for piece in spellings for one in piece], dtype=np.int64)
    pieces = SpellingTree.of(codes_C, lengths_P, np.zeros(len(codes_C)), alphabet=len(characters))
    by_end_P = np.argsort(pieces.ends_P, kind="stable")
    tokens_P, ends_P = tokens_P[by_end_P], pieces.ends_P[by_end_P]
    nodes_S = np.arange(len(tree) + 1)
    first_child_S = np.searchsorted(tree.keys_S, nodes_S * tree.alphabet)
    sources_F = nodes_F = nodes_S[:-1]
    branches_F, extra_F = np.zeros_like(nodes_F), np.zeros(len(nodes_F))
    found: list[tuple[Ints, Ints, Ints, Floats]] = []
    while len(nodes_F):
        at, number = repeated(first_child_S[nodes_F + 1] - first_child_S[nodes_F])
        children_F = first_child_S[nodes_F[at]] + number
        characters_F = tree.characters_S[children_F]
        longer_F = pieces.children(branches_F[at], characters_F)
        goes_on = longer_F != 0
        at, children_F, longer_F = at[goes_on], children_F[goes_on], longer_F[goes_on]
        # If a word begins after a node, the phrases among the node's suffixes are complete.
        ended = (nodes_F[at] != 0) & begins_word[characters_F[goes_on]]
        gained = scores.kept_S[scores.fails_S[nodes_F[at]]]
        extra_F = extra_F[at] + np.where(ended, gained, 0.0)
        sources_F, nodes_F, branches_F = sources_F[at], children_F, longer_F
        first = np.searchsorted(ends_P, branches_F, side="left")
        moved, number = repeated(np.searchsorted(ends_P, branches_F, side="right") - first)
        gains = tree.gains_S[nodes_F[moved]] - tree.gains_S[sources_F[moved]] + extra_F[moved]
        tokens = tokens_P[first[moved] + number]
        found.append((sources_F[moved], tokens, nodes_F[moved], gains))
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(*found, strict=True)]
    return _Moves(*columns)


def _pieces(tokenizer: Tokenizer, characters: Mapping[str, int]) -> tuple[Ints, list[str]]:
    """Return the tokens spelt with ``characters`` only, and their spellings."""
    tokens: list[int] = []
    spellings: list[str] = []
    for token, piece in enumerate(tokenizer.vocabulary):
        if token <= tokenizer.unk_id:
            continue
        spaceless = piece.removeprefix(WORD_START)  # sentencepiece begins every text with a space
        for spelt in {piece, spaceless} if is_unspaced(piece) else {piece}:
            if spelt and all(one in characters for one in spelt):
                tokens.append(token)
                spellings.append(spelt)
    return np.array(tokens, dtype=np.int64), spellings
