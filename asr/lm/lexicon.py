"""An n-gram model as a scorer of tokens: over words through their spellings, or over pieces.

Words form a tree of characters. A token moves by all its characters at once, so every way to cut a
word into tokens reaches it. A word is scored when the next one begins, or at the end.

Shape legend: N nodes of the tree, P moves by a token, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr.errors import InputError, printable
from asr.lm.automaton import Automaton
from asr.lm.ngram import BEGIN, END, UNKNOWN, NgramModel, Order, ngram_automaton, read_arpa
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START, Tokenizer

_SPECIAL = (BEGIN, END, UNKNOWN)
_NOT_SPELT = 1  # the node of all characters that begin no word of the model


class WordScorer:
    """A `TokenScorer` that scores whole words by ``words``, an automaton over words.

    A state is ``n-gram state * N + node``; node 0 is the beginning of a word.
    """

    def __init__(
        self, words: Automaton, keys_P: Tensor, nodes_P: Tensor, word_N: Tensor, begins_V: Tensor
    ) -> None:
        self.words = words
        self.num_nodes = len(word_N)
        self.start = words.start * self.num_nodes
        self._tables = {"keys": keys_P, "nodes": nodes_P, "word": word_N, "begins": begins_V}
        self._on: dict[torch.device, dict[str, Tensor]] = {}

    def for_search(self) -> WordScorer:
        """Return itself: all searches share the tables."""
        return self

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of the words that end before ``tokens``, and the next states."""
        tables = self._at(states.device)
        node, context = states % self.num_nodes, states // self.num_nodes
        word_score, after = self.words.advance(context, tables["word"][node])
        begins = tables["begins"][tokens]
        ends_word = begins & (node != 0)
        key = torch.where(begins, 0, node) * len(tables["begins"]) + tokens
        place = torch.searchsorted(tables["keys"], key).clamp_max(len(tables["keys"]) - 1)
        following = torch.where(tables["keys"][place] == key, tables["nodes"][place], _NOT_SPELT)
        scores = torch.where(ends_word, word_score, 0.0)
        return scores, torch.where(ends_word, after, context) * self.num_nodes + following

    def finish(self, states: Tensor) -> Tensor:
        """Return scores of the last word, if it is still open, and of the end after it."""
        node, context = states % self.num_nodes, states // self.num_nodes
        score, after = self.words.advance(context, self._at(states.device)["word"][node])
        return torch.where(node == 0, self.words.finish(context), score + self.words.finish(after))

    def _at(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._on:
            self._on[device] = {name: table.to(device) for name, table in self._tables.items()}
        return self._on[device]


def lm_scorer(
    path: Path,
    tokenizer: Tokenizer,
    *,
    normalize: Callable[[str], str] = str,
    weight: float,
    bonus: float,
    model: NgramModel | None = None,
) -> Automaton | WordScorer:
    """Build the scorer of an ARPA file; over pieces if its words have the mark ``▁``.

    Words are spelt as ``normalize`` spells transcripts. Every word adds ``bonus``. ``model`` is the
    content of the file, if it was read before.

    Raises:
        InputError: see `read_arpa` and `ngram_automaton`; a piece is not in the tokenizer; the
            tokenizer can write none of the words; or it has words, for a script without spaces.
    """
    if model is None:
        model = read_arpa(path)
    vocabulary = tokenizer.vocabulary
    if any(WORD_START in word for word in model.vocabulary):
        known = {*vocabulary, *_SPECIAL}
        for word in model.vocabulary:
            if word not in known:
                raise InputError(
                    f"{path}: piece {printable(word)!r} is not among the tokenizer's "
                    f"{tokenizer.vocab_size:,}; train it on the pieces of this model"
                )
        model = _over_tokens(model, tokenizer)
        is_word = np.array([one.startswith(WORD_START) for one in model.vocabulary])
        return ngram_automaton(model, weight=weight, bonus=bonus, is_word=is_word)
    if is_unspaced("".join(vocabulary[2:])):
        raise InputError(
            f"{path}: has words, but this model's script has no spaces between them; train it on "
            f"pieces ({WORD_START} begins a text)"
        )
    is_word = np.array([word not in (BEGIN, END) for word in model.vocabulary])
    words = ngram_automaton(model, weight=weight, bonus=bonus, is_word=is_word)
    spellings: dict[str, int] = {}
    likely = dict(zip(model.orders[0].words[:, 0].tolist(), model.orders[0].log10, strict=True))
    for number, word in enumerate(model.vocabulary):
        spelt = "" if word in _SPECIAL else normalize(word)
        if not spelt or " " in spelt or tokenizer.unknown_characters(spelt):
            continue
        other = spellings.setdefault(spelt, number)
        if likely[number] > likely[other]:
            spellings[spelt] = number
    if not spellings:
        raise InputError(f"{path}: the model can write none of its {len(likely):,} words")
    return _word_scorer(words, spellings, vocabulary, model.vocabulary.index(UNKNOWN))


def _over_tokens(model: NgramModel, tokenizer: Tokenizer) -> NgramModel:
    """Renumber the model's words by the tokens, followed by ``<s>`` and ``</s>``."""
    vocabulary = (*tokenizer.vocabulary, BEGIN, END)
    number = {word: at for at, word in enumerate(vocabulary)}
    number[UNKNOWN] = tokenizer.unk_id
    tokens = np.array([number[word] for word in model.vocabulary])
    orders = tuple(
        Order(tokens[order.words], order.log10, order.backoff, order.lines)
        for order in model.orders
    )
    return NgramModel(model.path, vocabulary, orders)


def _word_scorer(
    words: Automaton, spellings: dict[str, int], vocabulary: list[str], unknown: int
) -> WordScorer:
    children: list[dict[str, int]] = [{}, {}]
    word_of = [unknown, unknown]
    for spelt, number in spellings.items():
        node = 0
        for character in spelt:
            following = children[node].get(character)
            if following is None:
                following = children[node][character] = len(children)
                children.append({})
                word_of.append(unknown)
            node = following
        word_of[node] = number
    pieces = [piece.removeprefix(WORD_START) for piece in vocabulary]
    by_first: dict[str, list[int]] = {}
    for token, piece in enumerate(pieces):
        if token > Tokenizer.unk_id:
            by_first.setdefault(piece[:1], []).append(token)
    moves: list[tuple[int, int]] = []
    for node, branches in enumerate(children):
        for character in ("", *branches):
            for token in by_first.get(character, ()):
                following = _walk(children, node, pieces[token])
                if following >= 0 and (node == 0 or not vocabulary[token].startswith(WORD_START)):
                    moves.append((node * len(vocabulary) + token, following))
    moves.sort()
    table = torch.tensor(moves, dtype=torch.int64)
    return WordScorer(
        words,
        table[:, 0].contiguous(),
        table[:, 1].contiguous(),
        torch.tensor(word_of),
        torch.tensor([piece.startswith(WORD_START) for piece in vocabulary]),
    )


def _walk(children: list[dict[str, int]], node: int, characters: str) -> int:
    """Return the node after ``characters``; -1 if there is none."""
    for character in characters:
        node = children[node].get(character, -1)
        if node < 0:
            return -1
    return node
