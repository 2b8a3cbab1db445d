from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.beam import BeamDecoder
from asr.errors import InputError
from asr.lm.automaton import Automaton
from asr.lm.hotwords import Hotword, hotword_automaton, read_hotwords
from asr.text.tokenizer import Tokenizer

TEXTS = ("ab abba a b ba baa bab", "abab ab ba b a aab abb")
WORDS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, kind="bpe", vocab_size=12)


@pytest.fixture(scope="module")
def chinese() -> Tokenizer:
    return Tokenizer.train(["你好吗", "我很好"], kind="char", vocab_size=10)


def score_of(automaton: Automaton, tokens: Sequence[int]) -> float:
    state, total = torch.tensor([automaton.start]), 0.0
    for token in tokens:
        scores, state = automaton.advance(state, torch.tensor([token]))
        total += scores.item()
    return total + automaton.finish(state).item()


def spellings(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """Every way to cut a text into tokens."""
    marked = "\u2581" + text.replace(" ", "\u2581")
    found: list[list[list[int]]] = [[[]]]
    for end in range(1, len(marked) + 1):
        found.append([])
        for token, piece in enumerate(tokenizer.vocabulary):
            if token > 1 and marked[:end].endswith(piece):
                found[end] += [[*before, token] for before in found[end - len(piece)]]
    return found[-1]


def occurrences(text: str, phrase: str) -> int:
    words, wanted = text.split(), phrase.split()
    return sum(words[first : first + len(wanted)] == wanted for first in range(len(words)))


@settings(max_examples=25, deadline=None)
@given(text=WORDS, phrases=st.lists(WORDS, min_size=1, max_size=4, unique=True))
def test_phrases_that_were_said_count_in_any_spelling(
    tokenizer: Tokenizer, text: str, phrases: list[str]
) -> None:
    kept = [one for one in phrases if not any(other.startswith(f"{one} ") for other in phrases)]
    automaton = hotword_automaton(map(Hotword, kept), tokenizer, weight=0.5)
    expected = sum(occurrences(text, one) * 0.5 * len(one.replace(" ", "")) for one in kept)
    for tokens in spellings(tokenizer, text)[:20]:
        assert score_of(automaton, tokens) == pytest.approx(expected)


def test_a_phrase_that_goes_on_adds_what_it_has_more(tokenizer: Tokenizer) -> None:
    automaton = hotword_automaton([Hotword("ab"), Hotword("ab ba")], tokenizer)
    assert score_of(automaton, tokenizer.encode("ab ba")) == pytest.approx(4)
    assert score_of(automaton, tokenizer.encode("ab b")) == pytest.approx(2)
    assert score_of(automaton, tokenizer.encode("abb ba")) == pytest.approx(0)


def test_boosts(tokenizer: Tokenizer) -> None:
    automaton = hotword_automaton([Hotword("ab", 3.0), Hotword("ba")], tokenizer, weight=2.0)
    assert score_of(automaton, tokenizer.encode("ab ba")) == pytest.approx(2 * (3 * 2 + 2))


def test_scripts_without_spaces(chinese: Tokenizer) -> None:
    automaton = hotword_automaton([Hotword("好吗")], chinese)
    assert score_of(automaton, chinese.encode("你好吗")) == pytest.approx(2)
    assert score_of(automaton, chinese.encode("好吗")) == pytest.approx(2)
    assert score_of(automaton, chinese.encode("我很好")) == pytest.approx(0)


def test_a_beam_prefers_a_hotword() -> None:
    letters = Tokenizer.train(TEXTS, kind="char", vocab_size=10)
    path = [token for one in letters.encode("abbb") for token in (one, letters.blank_id)]
    probs_TV = torch.full((len(path), letters.vocab_size), 0.01)
    probs_TV[torch.arange(len(path)), path] = 1.0
    probs_TV[-2, letters.encode("a")[-1]] = 0.7
    log_probs_BTV = (probs_TV / probs_TV.sum(-1, keepdim=True)).log()[None]
    texts = []
    for phrases in ([], ["abba"], ["ab"]):  # the last one is begun, but its word goes on
        scorers = [hotword_automaton(map(Hotword, phrases), letters)] if phrases else []
        (found,) = BeamDecoder(beam=8, scorers=scorers)(log_probs_BTV, torch.tensor([len(path)]))
        texts.append(letters.decode(found.token_ids))
    assert texts == ["abbb", "abba", "abbb"]


def test_phrases_are_spelt_as_the_model_spells(tokenizer: Tokenizer) -> None:
    automaton = hotword_automaton([Hotword("AB  BA")], tokenizer, normalize=str.lower)
    assert score_of(automaton, tokenizer.encode("ab ba")) == pytest.approx(4)


@pytest.mark.parametrize(
    ("phrase", "message"),
    [("abc ad", "hotword 'abc ad': the model cannot write c d"), (" ", "its spelling is empty")],
)
def test_a_phrase_that_cannot_be_written(tokenizer: Tokenizer, phrase: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hotword_automaton([Hotword("ab"), Hotword(phrase)], tokenizer)


def test_files_of_hotwords(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffNew York\t2.5\n\n  Ohm's law \n")
    assert read_hotwords(path) == [Hotword("New York", 2.5), Hotword("Ohm's law")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "no hotwords"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a\nb\tx\n", r"words.txt:2: 'x' is not a boost"),
        (b"b\tnan\n", r"'nan' is not a boost"),
        (b"b\t-1\n", r"'-1' is not a boost"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_hotwords(path)
