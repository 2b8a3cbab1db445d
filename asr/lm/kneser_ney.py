"""Estimating n-gram models: interpolated modified Kneser-Ney (Chen and Goodman 1999, section 3.5).

The probability of a word comes from its discounted count; the discounted mass goes to the shorter
context's distribution. Below the highest order, an n-gram's count is the number of different words
before it; an n-gram that begins with ``<s>`` has no word before it and keeps its own count.

Shape legend: P positions in the text, G n-grams of an order, V words.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import replacing
from asr.lm.ngram import BEGIN, END, UNKNOWN

_SPECIAL = (UNKNOWN, BEGIN, END)
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)
"""Discounts for a text without n-grams of each count from 1 to 4, which their estimate needs."""
_NEVER_LOG10 = -99.0


@dataclass(frozen=True, slots=True)
class _Grams:
    """The n-grams of one order.

    Attributes:
        prefix_G, suffix_G: n-gram of the order below without the last, and without the first word.
        last_G: last word.
        raw_G: count in the text.
        count_G: count to discount.
        begins_G: whether the n-gram begins with ``<s>``.
        id_P: n-gram that begins at each position of the text; -1 if none does.
    """

    prefix_G: NDArray[np.int64]
    suffix_G: NDArray[np.int64]
    last_G: NDArray[np.int64]
    raw_G: NDArray[np.int64]
    count_G: NDArray[np.int64]
    begins_G: NDArray[np.bool_]
    id_P: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EstimatedOrder:
    """The kept n-grams of an order: ``words`` (G, order), ``log10`` and ``backoff`` (G,).

    ``backoff`` is NaN for an n-gram that is no prefix of a longer one.
    """

    words: NDArray[np.int64]
    log10: NDArray[np.float64]
    backoff: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated n-gram model: the word of each number, and the n-grams by order."""

    vocabulary: tuple[str, ...]
    orders: tuple[EstimatedOrder, ...]
    num_sentences: int
    num_words: int

    def write(self, path: Path) -> None:
        """Write an ARPA file atomically, compressed if ``path`` ends with ``.gz``."""
        text = "".join(self._lines()).encode()
        with replacing(path) as partial:
            is_packed = path.suffix == ".gz"
            partial.write_bytes(gzip.compress(text, 6, mtime=0) if is_packed else text)

    def _lines(self) -> Iterator[str]:
        yield "\\data\\\n"
        for number, order in enumerate(self.orders, start=1):
            yield f"ngram {number}={len(order.words)}\n"
        for number, order in enumerate(self.orders, start=1):
            yield f"\n\\{number}-grams:\n"
            rows = zip(order.words.tolist(), order.log10, order.backoff, strict=True)
            for words, log10, backoff in rows:
                text = " ".join(self.vocabulary[word] for word in words)
                end = "" if np.isnan(backoff) else f"\t{backoff:.6f}"
                yield f"{log10:.6f}\t{text}{end}\n"
        yield "\n\\end\\\n"


def estimate(
    sentences: Iterable[Sequence[str]],
    *,
    order: int = 3,
    prune: Sequence[int] = (),
    min_count: int = 1,
) -> Estimate:
    """Estimate a model of ``order`` from sentences of words.

    Args:
        sentences: words of each sentence; empty sentences are left out.
        order: length of the longest n-grams.
        prune: for each order from the first, a count; n-grams of at most this count are left out.
            The last number applies to all higher orders. Single words are never pruned.
        min_count: words with a lower count become ``<unk>``.

    Raises:
        InputError: there is no sentence, the text has a reserved word, or ``prune`` decreases.
    """
    if any(later < earlier for earlier, later in itertools.pairwise(prune)):
        raise InputError(
            f"prune={list(prune)}: allowed: counts that do not decrease with the order"
        )
    vocabulary, words_P, num_sentences = _numbered(sentences, min_count)
    orders = _counted(words_P, order)
    kept: list[NDArray[np.bool_]] = []
    for index, grams in enumerate(orders):
        limit = prune[min(index, len(prune) - 1)] if prune and index else 0
        kept.append((grams.raw_G > limit) | (index == 0))
    probs_G = np.zeros(0)
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for index, (grams, kept_G) in enumerate(zip(orders, kept, strict=True)):
        discounts_G = _discounts(grams)[np.minimum(grams.count_G, 3)]
        discounted_G = np.maximum(grams.count_G - discounts_G, 0)
        if index == 0:
            countable_G = grams.last_G != vocabulary[BEGIN]
            share_G = np.where(countable_G, discounted_G / grams.count_G[countable_G].sum(), 0.0)
            rest = 1.0 - share_G.sum()
            probs_G = np.where(countable_G, share_G + rest / countable_G.sum(), 0.0)
            found.append((probs_G, np.full(len(probs_G), np.nan)))
            continue
        num_prefixes = len(probs_G)
        total = np.bincount(grams.prefix_G, grams.count_G, num_prefixes)
        share_G = np.where(kept_G, discounted_G / total[grams.prefix_G], 0.0)
        rest_of_prefix = 1.0 - np.bincount(grams.prefix_G, share_G, num_prefixes)
        goes_on = np.bincount(grams.prefix_G, kept_G, num_prefixes) > 0
        found[-1] = (found[-1][0], np.where(goes_on, rest_of_prefix, np.nan))
        probs_G = share_G + rest_of_prefix[grams.prefix_G] * probs_G[grams.suffix_G]
        found.append((probs_G, np.full(len(probs_G), np.nan)))
    tables = _words_of(orders)
    return Estimate(
        vocabulary=tuple(vocabulary),
        orders=tuple(
            _in_logarithms(words[keep], probs[keep], backoff[keep])
            for words, keep, (probs, backoff) in zip(tables, kept, found, strict=True)
        ),
        num_sentences=num_sentences,
        num_words=int((~np.isin(words_P, (vocabulary[BEGIN], vocabulary[END]))).sum()),
    )


def _in_logarithms(
    words: NDArray[np.int64], probs: NDArray[np.float64], backoff: NDArray[np.float64]
) -> EstimatedOrder:
    with np.errstate(divide="ignore"):
        log10 = np.maximum(np.log10(probs), _NEVER_LOG10)
        return EstimatedOrder(words, log10, np.maximum(np.log10(backoff), _NEVER_LOG10))


def _numbered(
    sentences: Iterable[Sequence[str]], min_count: int
) -> tuple[dict[str, int], NDArray[np.int64], int]:
    """Return a number for each word, the text in numbers, and its number of sentences.

    Each sentence in the text has its begin and end marks.
    """
    numbers: dict[str, int] = {word: number for number, word in enumerate(_SPECIAL)}
    text: list[int] = []
    num_sentences = 0
    for sentence in sentences:
        if not sentence:
            continue
        for word in sentence:
            if word in _SPECIAL:
                raise InputError(f"the text has the word {word}, which is reserved in ARPA files")
        num_sentences += 1
        text.append(numbers[BEGIN])
        text += [numbers.setdefault(word, len(numbers)) for word in sentence]
        text.append(numbers[END])
    if not num_sentences:
        raise InputError("no sentence to estimate a language model from")
    words_P = np.array(text, dtype=np.int64)
    if min_count > 1:
        counts_V = np.bincount(words_P, minlength=len(numbers))
        is_rare_V = (counts_V < min_count) & (np.arange(len(numbers)) >= len(_SPECIAL))
        new_V = np.where(is_rare_V, numbers[UNKNOWN], np.cumsum(~is_rare_V) - 1)
        names = [word for word, number in numbers.items() if not is_rare_V[number]]
        return {word: at for at, word in enumerate(names)}, new_V[words_P], num_sentences
    return numbers, words_P, num_sentences


def _counted(words_P: NDArray[np.int64], order: int) -> list[_Grams]:
    """Count the n-grams of every order up to ``order`` that occurs in the text."""
    begin, end = _SPECIAL.index(BEGIN), _SPECIAL.index(END)
    vocab_size = max(int(words_P.max()) + 1, len(_SPECIAL))
    raw_V = np.bincount(words_P, minlength=vocab_size)
    every_V = np.arange(vocab_size)
    orders = [
        _Grams(
            prefix_G=np.zeros(vocab_size, dtype=np.int64),
            suffix_G=np.zeros(vocab_size, dtype=np.int64),
            last_G=every_V,
            raw_G=raw_V,
            count_G=raw_V,
            begins_G=every_V == begin,
            id_P=words_P,
        )
    ]
    for _ in range(1, order):
        below = orders[-1]
        id_P = np.full(len(words_P), -1, dtype=np.int64)
        last_P = np.full(len(words_P), -1, dtype=np.int64)
        span = len(orders)  # words of an n-gram of the order below
        last_P[:-span] = words_P[span:]
        # Extend by one more word only within a sentence: the n-gram must not end with </s>.
        is_inside = (below.id_P >= 0) & (last_P >= 0)
        is_inside[:-span] &= words_P[span - 1 : len(words_P) - 1] != end
        places = np.flatnonzero(is_inside)
        if not len(places):
            break
        keys = below.id_P[places] * vocab_size + last_P[places]
        unique, first, inverse, raw_G = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        id_P[places] = inverse
        prefix_G, first_P = unique // vocab_size, places[first]
        orders[-1] = _with_continuations(below, below.id_P[first_P + 1])
        orders.append(
            _Grams(
                prefix_G=prefix_G,
                suffix_G=below.id_P[first_P + 1],
                last_G=unique % vocab_size,
                raw_G=raw_G,
                count_G=raw_G,
                begins_G=below.begins_G[prefix_G],
                id_P=id_P,
            )
        )
    return orders


def _with_continuations(grams: _Grams, suffix_of_longer: NDArray[np.int64]) -> _Grams:
    """Return ``grams`` with continuation counts: the number of different words before each."""
    before_G = np.bincount(suffix_of_longer, minlength=len(grams.raw_G))
    return _Grams(
        grams.prefix_G,
        grams.suffix_G,
        grams.last_G,
        grams.raw_G,
        np.where(grams.begins_G, grams.raw_G, before_G),
        grams.begins_G,
        grams.id_P,
    )


def _discounts(grams: _Grams) -> NDArray[np.float64]:
    """Return the discounts of counts 0, 1, 2, and 3 or more (equation 26 of the paper)."""
    counts_G = grams.count_G[grams.last_G != _SPECIAL.index(BEGIN)]
    number = [int((counts_G == count).sum()) for count in range(5)]
    if min(number[1:]) == 0:
        return np.array([0.0, *_USUAL_DISCOUNTS])
    share = number[1] / (number[1] + 2 * number[2])
    found = [count - (count + 1) * share * number[count + 1] / number[count] for count in (1, 2, 3)]
    if min(found) <= 0:
        return np.array([0.0, *_USUAL_DISCOUNTS])
    return np.array([0.0, *found])


def _words_of(orders: Sequence[_Grams]) -> list[NDArray[np.int64]]:
    """Return the words (G, order) of the n-grams of every order."""
    tables = [orders[0].last_G[:, np.newaxis]]
    for grams in orders[1:]:
        tables.append(np.concatenate([tables[-1][grams.prefix_G], grams.last_G[:, np.newaxis]], 1))
    return tables
