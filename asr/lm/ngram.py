"""N-gram language models with back-off, read from ARPA files into the automaton on tensors.

Every n-gram below the highest order is a state; the empty context is the root. A word that a
context does not list is scored in a shorter one, plus the back-off weight (Katz 1987). A file has
base-10 logarithms, the automaton natural ones.

Shape legend: S states, A arcs, V words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from asr.errors import InputError, printable
from asr.files import read_packed_lines
from asr.lm.automaton import Arcs, Automaton

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
UNLISTED_LOG10 = -10.0
"""Score of an unlisted word in a model without ``<unk>``."""
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
_MOST_ABOVE_ONE = 1e-3  # rounding may write a probability of 1 as slightly more
_SENTENCES_AT_ONCE = 1000
_LN10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class Order:
    """The n-grams of one order: ``words`` (N, order), ``log10`` (N,), ``backoff`` (N,) or NaN.

    ``lines`` (N,) are their lines in the file.
    """

    words: NDArray[np.int64]
    log10: NDArray[np.float64]
    backoff: NDArray[np.float64]
    lines: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NgramModel:
    """The content of an ARPA file: ``vocabulary``, indexed by a word's number, and ``orders``.

    The vocabulary always has ``<unk>``.
    """

    path: Path
    vocabulary: tuple[str, ...]
    orders: tuple[Order, ...]


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file, compressed by gzip or not.

    Raises:
        InputError: the file cannot be read or is cut off; a count is wrong; a line is not an
            n-gram; or an n-gram has unlisted words, or its prefix is not listed.
    """
    return _read(read_packed_lines(path), path)


def _read(lines: Iterator[tuple[str, str]], path: Path) -> NgramModel:
    for _, line in lines:
        if line.strip() == "\\data\\":
            break
    else:
        raise InputError(f"{path}: not an ARPA file, which has a line \\data\\")
    counts: list[int] = []
    where, line = str(path), ""
    for where, line in lines:
        found = _COUNT.fullmatch(line.strip())
        if found is None:
            break
        if int(found[1]) != len(counts) + 1:
            raise InputError(f"{where}: 'ngram {len(counts) + 1}=…' is expected here")
        counts.append(int(found[2]))
    if not counts:
        raise InputError(f"{where}: no counts 'ngram 1=…' after \\data\\")
    numbers: dict[str, int] = {}
    orders: list[Order] = []
    for order, count in enumerate(counts, start=1):
        if line.strip() != f"\\{order}-grams:":
            raise InputError(f"{where}: '\\{order}-grams:' is expected here")
        words: list[int] = []
        scores: list[tuple[float, float, int]] = []
        for where, line in lines:
            if line.startswith("\\"):
                break
            fields = line.split()
            if len(fields) - order not in (1, 2):
                raise InputError(f"{where}: a probability, {order} words and a back-off expected")
            log10 = _number(fields[0], where)
            if log10 > _MOST_ABOVE_ONE:
                raise InputError(f"{where}: {fields[0]} is not the logarithm of a probability")
            backoff = _number(fields[-1], where) if len(fields) == order + 2 else math.nan
            if order == 1:
                if fields[1] in numbers:
                    raise InputError(f"{where}: {printable(fields[1])!r} is listed twice")
                numbers[fields[1]] = len(numbers)
            try:
                words += [numbers[word] for word in fields[1 : order + 1]]
            except KeyError as error:
                raise InputError(
                    f"{where}: {printable(error.args[0])!r} is not among the 1-grams"
                ) from None
            scores.append((log10, backoff, int(where.rpartition(" ")[2])))
        else:
            raise InputError(f"{path}: ends without \\end\\; the file is not whole")
        if len(scores) != count:
            raise InputError(
                f"{path}: its header says ngram {order}={count:,}, but {len(scores):,} are listed"
            )
        table = np.array(scores, dtype=np.float64).reshape(-1, 3)
        orders.append(
            Order(
                words=np.array(words, dtype=np.int64).reshape(-1, order),
                log10=table[:, 0],
                backoff=table[:, 1],
                lines=table[:, 2].astype(np.int64),
            )
        )
    if line.strip() != "\\end\\":
        raise InputError(f"{where}: \\end\\ is expected here")
    if UNKNOWN not in numbers and "<UNK>" in numbers:
        numbers = {UNKNOWN if word == "<UNK>" else word: at for word, at in numbers.items()}
    numbers.setdefault(UNKNOWN, len(numbers))
    return NgramModel(path, tuple(numbers), tuple(orders))


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InputError(f"{where}: {printable(text)!r} is not a number")
    return number


def ngram_automaton(
    model: NgramModel, *, weight: float = 1.0, bonus: float = 0.0, is_word: NDArray[np.bool_]
) -> Automaton:
    """Build the automaton over the words of ``model``; it starts after ``<s>``.

    Every word for which ``is_word`` (V,) is True adds ``bonus`` to its weighted score.

    Raises:
        InputError: an n-gram's prefix is not listed, or has no back-off weight.
    """
    vocab_size = len(model.vocabulary)
    number = {word: at for at, word in enumerate(model.vocabulary)}
    unigrams = model.orders[0]
    root_weights_V = np.full(vocab_size, UNLISTED_LOG10 * _LN10)
    root_weights_V[unigrams.words[:, 0]] = np.maximum(unigrams.log10, -99.0) * _LN10
    has_states = len(model.orders) > 1
    root_targets_V = np.zeros(vocab_size, dtype=np.int64)
    if has_states:
        root_targets_V[unigrams.words[:, 0]] = 1 + unigrams.words[:, 0]
    backoffs, fails = [np.zeros(1)], [np.zeros(1, dtype=np.int64)]
    if has_states:  # the state of a word is one more than its number
        backoffs.append(np.full(vocab_size, math.nan))
        backoffs[1][unigrams.words[:, 0]] = unigrams.backoff * _LN10
        fails.append(np.zeros(vocab_size, dtype=np.int64))
    keys_A = np.zeros(0, dtype=np.int64)
    weights_A, targets_A = np.zeros(0), np.zeros(0, dtype=np.int64)
    for index, order in enumerate(model.orders[1:], start=2):
        backoff_S, fail_S = np.concatenate(backoffs), np.concatenate(fails)
        source = 1 + order.words[:, 0]
        for column in range(1, index - 1):
            place, is_arc = _find(keys_A, source * vocab_size + order.words[:, column])
            if not is_arc.all():
                raise _no_beginning(model, order, int(np.flatnonzero(~is_arc)[0]))
            source = targets_A[place]
        if np.isnan(backoff_S[source]).any():
            row = int(np.flatnonzero(np.isnan(backoff_S[source]))[0])
            text = " ".join(model.vocabulary[word] for word in order.words[row])
            raise InputError(
                f"{model.path}, line {order.lines[row]}: {printable(text)!r} extends "
                "an n-gram that has no back-off weight"
            )
        keys = source * vocab_size + order.words[:, -1]
        by_key = np.argsort(keys, kind="stable")
        twice = np.flatnonzero(np.diff(keys[by_key]) == 0)
        if len(twice):
            raise InputError(
                f"{model.path}, line {order.lines[by_key[twice[0] + 1]]}: "
                "this n-gram is listed twice"
            )
        suffix = _longest_suffix(
            fail_S[source], order.words[:, -1], keys_A, targets_A, fail_S, vocab_size
        )
        if index < len(model.orders):
            targets = len(fail_S) + np.arange(len(keys))
            backoffs.append(order.backoff * _LN10)
            fails.append(suffix)
        else:
            targets = suffix
        keys_A = np.concatenate([keys_A, keys])
        weights_A = np.concatenate([weights_A, np.maximum(order.log10, -99.0) * _LN10])
        targets_A = np.concatenate([targets_A, targets])
        ascending = np.argsort(keys_A, kind="stable")
        keys_A, weights_A, targets_A = keys_A[ascending], weights_A[ascending], targets_A[ascending]
    if not len(keys_A):
        keys_A, weights_A, targets_A = np.array([-1]), np.zeros(1), np.zeros(1, dtype=np.int64)
    added_V = np.where(is_word, bonus / weight, 0.0)
    backoff_S = np.nan_to_num(np.concatenate(backoffs), nan=0.0)
    num_states = len(backoff_S)
    arcs = Arcs(
        keys_A=torch.from_numpy(keys_A),
        weights_A=torch.from_numpy(weights_A + added_V[keys_A % vocab_size]),
        targets_A=torch.from_numpy(targets_A),
        backoff_S=torch.from_numpy(np.concatenate(fails)),
        backoff_weights_S2=torch.from_numpy(np.stack([backoff_S, backoff_S], 1)),
        ends_S=torch.zeros(num_states, dtype=torch.float64),
        root_weights_V=torch.from_numpy(root_weights_V + added_V),
        root_targets_V=torch.from_numpy(root_targets_V),
        begins_word_V=torch.zeros(vocab_size, dtype=torch.bool),
        depth=max(1, len(model.orders) - 1),
        start=int(root_targets_V[number[BEGIN]]) if BEGIN in number else 0,
    )
    if END in number:
        states_S = torch.arange(num_states)
        ends_S, _ = Automaton(arcs).advance(states_S, torch.full_like(states_S, number[END]))
        arcs = replace(arcs, ends_S=ends_S - added_V[number[END]])
    return Automaton(arcs, weight=weight)


def _find(
    keys_A: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the position of each key, and whether it is there."""
    place = np.searchsorted(keys_A, keys)
    place = np.minimum(place, max(0, len(keys_A) - 1))
    return place, keys_A[place] == keys if len(keys_A) else np.zeros(len(keys), dtype=bool)


def _longest_suffix(
    states: NDArray[np.int64],
    words: NDArray[np.int64],
    keys_A: NDArray[np.int64],
    targets_A: NDArray[np.int64],
    fail_S: NDArray[np.int64],
    vocab_size: int,
) -> NDArray[np.int64]:
    """Return the state of the longest suffix that ends with ``words``, which follow ``states``."""
    targets = np.full(len(states), -1, dtype=np.int64)
    while (is_open := (targets < 0) & (states != 0)).any():
        place, is_arc = _find(keys_A, states * vocab_size + words)
        is_arc &= is_open
        targets[is_arc] = targets_A[place[is_arc]]
        states = np.where(is_open & ~is_arc, fail_S[states], states)
    return np.where(targets < 0, 1 + words, targets)


def _no_beginning(model: NgramModel, order: Order, row: int) -> InputError:
    text = printable(" ".join(model.vocabulary[word] for word in order.words[row]))
    return InputError(
        f"{model.path}, line {order.lines[row]}: {text!r} is listed, "
        "but not all of its prefixes are"
    )


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity of a text: ``log`` is the natural logarithm of its probability."""

    log: float
    num_words: int
    num_unknown: int
    num_sentences: int

    @property
    def value(self) -> float:
        """Perplexity per word, with ends of sentences; unlisted words count as ``<unk>``."""
        return math.exp(-self.log / (self.num_words + self.num_sentences))

    def __str__(self) -> str:
        """Describe the value and the counts in one line."""
        share = 100 * self.num_unknown / max(1, self.num_words)
        return (
            f"{self.value:.1f} over {self.num_words:,} words and {self.num_sentences:,} ends of "
            f"sentences, {share:.1f} % of the words not listed"
        )


def perplexity(model: NgramModel, sentences: Sequence[Sequence[str]]) -> Perplexity:
    """Compute the perplexity of ``model`` on sentences of words.

    Raises:
        InputError: there is no sentence; see `ngram_automaton`.
    """
    if not sentences:
        raise InputError("no sentence to compute the perplexity of")
    number = {word: at for at, word in enumerate(model.vocabulary)}
    unknown = number[UNKNOWN]
    automaton = ngram_automaton(model, is_word=np.zeros(len(number), dtype=np.bool_))
    rows = sorted(([number.get(word, unknown) for word in one] for one in sentences), key=len)
    total, num_unknown = 0.0, 0
    for first in range(0, len(rows), _SENTENCES_AT_ONCE):
        some = rows[first : first + _SENTENCES_AT_ONCE]
        lengths_B = torch.tensor([len(row) for row in some])
        words_BU = pad_sequence([torch.tensor(row) for row in some], batch_first=True)
        states_B = torch.full((len(some),), automaton.start)
        for place in range(words_BU.shape[1]):
            scores_B, behind_B = automaton.advance(states_B, words_BU[:, place])
            is_inside_B = place < lengths_B
            total += float(scores_B[is_inside_B].sum())
            states_B = torch.where(is_inside_B, behind_B, states_B)
        total += float(automaton.finish(states_B).sum())
        num_unknown += sum(row.count(unknown) for row in some)
    return Perplexity(total, sum(map(len, rows)), num_unknown, len(rows))
