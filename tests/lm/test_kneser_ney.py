from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.errors import InputError
from asr.lm.kneser_ney import estimate
from asr.lm.ngram import ngram_automaton, perplexity, read_arpa

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


def random_text(num_sentences: int, seed: int = 0) -> list[list[str]]:
    """Sentences of words that like some neighbours better than others."""
    numbers = np.random.default_rng(seed)
    text = []
    for _ in range(num_sentences):
        words, last = [], 0
        for _ in range(int(numbers.integers(1, 9))):
            last = int(numbers.choice([(last + 1) % 8, (last * 3) % 8, int(numbers.integers(8))]))
            words.append(WORDS[last])
        text.append(words)
    return text


class Reference:
    """Interpolated modified Kneser-Ney with dictionaries, word by word."""

    def __init__(self, text: Sequence[Sequence[str]], order: int) -> None:
        self.order = order
        raw: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 1)]
        for sentence in text:
            words = ["<s>", *sentence, "</s>"]
            for size in range(1, order + 1):
                for first in range(len(words) - size + 1):
                    raw[size][tuple(words[first : first + size])] += 1
        self.counts = raw
        for size in range(1, order):
            before: defaultdict[tuple[str, ...], int] = defaultdict(int)
            for gram in raw[size + 1]:
                before[gram[1:]] += 1
            self.counts[size] = Counter(
                {gram: n if gram[0] == "<s>" else before[gram] for gram, n in raw[size].items()}
            )
        self.words = [*sorted({gram[0] for gram in raw[1]} - {"<s>"}), "<unk>"]

    def discount(self, size: int, count: int) -> float:
        number = Counter(n for gram, n in self.counts[size].items() if gram != ("<s>",))
        if min(number[one] for one in (1, 2, 3, 4)) == 0:
            return (0.0, 0.5, 1.0, 1.5)[min(count, 3)]
        share = number[1] / (number[1] + 2 * number[2])
        found = [n - (n + 1) * share * number[n + 1] / number[n] for n in (1, 2, 3)]
        if min(found) <= 0:
            return (0.0, 0.5, 1.0, 1.5)[min(count, 3)]
        return (0.0, *found)[min(count, 3)]

    def prob(self, history: tuple[str, ...], word: str) -> float:
        size = len(history) + 1
        following = {
            gram[-1]: n
            for gram, n in self.counts[size].items()
            if gram[:-1] == history and gram != ("<s>",)
        }
        lower = self.prob(history[1:], word) if history else 1 / len(self.words)
        total = sum(following.values())
        if not total:
            return lower
        rest = sum(self.discount(size, n) for n in following.values()) / total
        own = max(following.get(word, 0) - self.discount(size, following.get(word, 0)), 0) / total
        return own + rest * lower


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("num_sentences", [3, 200])
def test_probabilities_are_those_of_the_equations(
    tmp_path: Path, order: int, num_sentences: int
) -> None:
    text = random_text(num_sentences)
    estimate(text, order=order).write(tmp_path / "a.arpa.gz")
    reference = Reference(text, order)
    model = read_arpa(tmp_path / "a.arpa.gz")
    for sentence in random_text(20, seed=1):
        known = [word if word in reference.words else "<unk>" for word in sentence]
        expected = 0.0
        for place, word in enumerate([*known, "</s>"]):
            history = ("<s>", *known[:place])[-(order - 1) :] if order > 1 else ()
            expected += math.log(reference.prob(history, word))
        found = perplexity(model, [sentence])
        assert found.log == pytest.approx(expected, abs=1e-4 * (len(sentence) + 1))


@pytest.mark.parametrize("prune", [(), (0, 0, 1), (0, 1, 2)])
def test_words_of_every_history_sum_to_one(tmp_path: Path, prune: tuple[int, ...]) -> None:
    found = estimate(random_text(150), order=3, prune=prune)
    found.write(tmp_path / "a.arpa")
    model = read_arpa(tmp_path / "a.arpa")
    automaton = ngram_automaton(model, is_word=np.zeros(len(model.vocabulary), dtype=np.bool_))
    states = torch.arange(automaton.num_states).unsqueeze(1)
    words = torch.tensor([at for at, word in enumerate(model.vocabulary) if word != "<s>"])
    scores, _ = automaton.advance(states, words)
    sums = scores.exp().sum(1)
    assert sums.numpy() == pytest.approx(1.0, abs=1e-4)
    if prune:
        assert len(found.orders[2].words) < len(estimate(random_text(150)).orders[2].words)


def test_rare_words_are_unknown(tmp_path: Path) -> None:
    text = [["a", "b"], ["a", "rare"], ["b", "a"]]
    found = estimate(text, order=2, min_count=2)
    assert found.vocabulary == ("<unk>", "<s>", "</s>", "a", "b")
    found.write(tmp_path / "a.arpa")
    told = perplexity(read_arpa(tmp_path / "a.arpa"), [["a", "other"]])
    assert (told.num_words, told.num_unknown) == (2, 1)
    assert "50.0 % of the words not listed" in str(told)


@pytest.mark.parametrize(
    ("text", "said"),
    [([], "no sentence"), ([[]], "no sentence"), ([["a", "<s>"]], "the text has the word <s>")],
)
def test_texts_that_cannot_be(text: list[list[str]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        estimate(text)


def test_longer_ngrams_need_their_beginnings() -> None:
    with pytest.raises(InputError, match=r"prune=\[0, 2, 1\]"):
        estimate([["a"]], prune=(0, 2, 1))
