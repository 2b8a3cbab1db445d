from __future__ import annotations

import gzip
import math
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.lm.ngram import ngram_automaton, read_arpa

WORDS = ("a", "b", "c", "<unk>", "<s>", "</s>")
ARPA = """
\\data\\
ngram 1=5
ngram 2=2
ngram 3=1

\\1-grams:
-1.0\t<s>\t-0.3
-0.9\t</s>
-1.5\t<unk>
-0.5\ta\t-0.2
-0.6\tb\t-0.1

\\2-grams:
-0.2\t<s> a\t-0.4
-0.3\ta b

\\3-grams:
-0.1\t<s> a b

\\end\\
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def random_arpa(
    seed: int, num_orders: int
) -> tuple[str, dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """A file with the beginnings, but not all endings, of its n-grams; its tables."""
    numbers = np.random.default_rng(seed)
    log10: dict[tuple[str, ...], float] = {}
    backoff: dict[tuple[str, ...], float] = {}
    for order in range(1, num_orders + 1):
        for gram in product(WORDS, repeat=order):
            if order > 1 and (gram[:-1] not in log10 or numbers.random() > 0.4):
                continue
            log10[gram] = -round(float(numbers.uniform(0, 3)), 3)
            backoff[gram] = round(float(numbers.uniform(-1, 0.3)), 3)
    sizes = [sum(len(gram) == order for gram in log10) for order in range(1, num_orders + 1)]
    text = "\\data\\\n" + "".join(f"ngram {n}={size}\n" for n, size in enumerate(sizes, 1))
    for order in range(1, num_orders + 1):
        text += f"\n\\{order}-grams:\n"
        for gram in log10:
            if len(gram) == order:
                end = "" if order == num_orders else f"\t{backoff[gram]}"
                text += f"{log10[gram]}\t{' '.join(gram)}{end}\n"
    return text + "\n\\end\\\n", log10, backoff


def reference(
    sentence: Sequence[str],
    log10: dict[tuple[str, ...], float],
    backoff: dict[tuple[str, ...], float],
    num_orders: int,
) -> float:
    total, said = 0.0, ("<s>", *sentence, "</s>")
    for at in range(1, len(said)):
        history = said[max(0, at - num_orders + 1) : at]
        while (*history, said[at]) not in log10:
            total += backoff.get(history, 0.0)
            history = history[1:]
        total += log10[(*history, said[at])]
    return total * math.log(10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    num_orders=st.integers(1, 4),
    sentence=st.lists(st.sampled_from(WORDS[:4]), max_size=8),
)
def test_sums_are_those_of_dictionaries(
    tmp_path_factory: pytest.TempPathFactory, seed: int, num_orders: int, sentence: list[str]
) -> None:
    text, log10, backoff = random_arpa(seed, num_orders)
    model = read_arpa(write(tmp_path_factory.mktemp("lm") / "a.arpa", text))
    is_word = np.array([word in "abc" for word in model.vocabulary])
    automaton = ngram_automaton(model, weight=0.7, bonus=0.2, is_word=is_word)
    state, total = torch.tensor([automaton.start]), 0.0
    for word in sentence:
        score, state = automaton.advance(state, torch.tensor([model.vocabulary.index(word)]))
        total += score.item()
    total += automaton.finish(state).item()
    bonus = 0.2 * sum(word in "abc" for word in sentence)
    assert total == pytest.approx(0.7 * reference(sentence, log10, backoff, num_orders) + bonus)


def test_a_compressed_file_is_the_same(tmp_path: Path) -> None:
    plain = read_arpa(write(tmp_path / "a.arpa", ARPA))
    (tmp_path / "a.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    packed = read_arpa(tmp_path / "a.arpa.gz")
    assert packed.vocabulary == plain.vocabulary == ("<s>", "</s>", "<unk>", "a", "b")
    (tmp_path / "b.arpa.gz").write_bytes(gzip.compress(ARPA.encode())[:60])
    with pytest.raises(InputError, match=r"b.arpa.gz: damaged gzip file"):
        read_arpa(tmp_path / "b.arpa.gz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "", "not an ARPA file"),
        ("ngram 2=2", "ngram 2=3", "header says ngram 2=3, but 2 are listed"),
        ("ngram 2=2\n", "", r"a.arpa, line 4: 'ngram 2=…' is expected"),
        ("\\2-grams:", "\\4-grams:", "a.arpa, line 14: '\\2-grams:' is expected"),
        ("\\end\\", "", "the file is not whole"),
        ("-0.5\ta", "0.5\ta", "not the logarithm of a probability"),
        ("-0.5\ta", "x\ta", "'x' is not a number"),
        ("-0.3\ta b", "-0.3\ta z", r"a.arpa, line 16: 'z' is not among the 1-grams"),
        ("-0.3\ta b", "-0.3\ta", "a probability, 2 words and a back-off expected"),
        ("-0.6\tb", "-0.6\ta", "'a' is listed twice"),
        ("-0.3\ta b", "-0.3\t<s> a", "listed twice"),
        ("-0.1\t<s> a b", "-0.1\tb a b", "'b a b' is listed, but not all of its prefixes"),
        ("-0.5\ta\t-0.2", "-0.5\ta", "'a b' extends an n-gram that has no back-off weight"),
    ],
)
def test_files_that_are_broken(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ARPA
    path = write(tmp_path / "a.arpa", ARPA.replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)):
        ngram_automaton(read_arpa(path), is_word=np.zeros(5, dtype=bool))
