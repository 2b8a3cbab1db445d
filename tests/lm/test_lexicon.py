from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.errors import InputError
from asr.lm.automaton import Automaton
from asr.lm.hotwords import Hotword, hotword_automaton
from asr.lm.lexicon import WordScorer, lm_scorer
from asr.text.tokenizer import Tokenizer

from .test_hotwords import TEXTS, spellings

LOG10 = {"<s> ab": -0.1, "ab ba": -0.2, "ab </s>": -0.7, "ba </s>": -0.4, "ba": -0.9, "ab": -0.5}
BIGRAMS = ("<s> ab", "ab ba", "ab </s>", "ba </s>")


def arpa(path: Path, words: Sequence[str], bigrams: Sequence[str] = BIGRAMS) -> Path:
    grams = ("<s>", "</s>", "<unk>", *words)
    text = f"\\data\\\nngram 1={len(grams)}\nngram 2={len(bigrams)}\n\n\\1-grams:\n"
    text += "".join(f"{LOG10.get(one, -1.5)}\t{one}\t-0.3\n" for one in grams) + "\n\\2-grams:\n"
    text += "".join(f"{LOG10[one]}\t{one}\n" for one in bigrams) + "\n\\end\\\n"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, kind="bpe", vocab_size=12)


def score_of(scorer: Automaton | WordScorer, tokens: Sequence[int]) -> float:
    state, total = torch.tensor([scorer.start]), 0.0
    for token in tokens:
        scores, state = scorer.advance(state, torch.tensor([token]))
        total += scores.item()
    return total + scorer.finish(state).item()


@pytest.mark.parametrize(
    ("text", "log10"),
    [
        ("ab ba", -0.1 - 0.2 - 0.4),
        ("ba ab", (-0.3 - 0.9) + (-0.3 - 0.5) - 0.7),
        ("ab abba", -0.1 + (-0.3 - 1.5) + (-0.3 - 1.5)),  # a beginning of none, so unknown
        ("a", (-0.3 - 1.5) + (-0.3 - 1.5)),  # a beginning that is no word
        ("", -0.3 - 1.5),
    ],
)
def test_words_are_scored_in_any_spelling(
    tokenizer: Tokenizer, tmp_path: Path, text: str, log10: float
) -> None:
    scorer = lm_scorer(arpa(tmp_path / "a.arpa", ["ab", "ba"]), tokenizer, weight=0.5, bonus=0.25)
    expected = 0.5 * log10 * math.log(10) + 0.25 * len(text.split())
    for tokens in spellings(tokenizer, text)[:10] if text else [[]]:
        assert score_of(scorer, tokens) == pytest.approx(expected)


def test_words_are_spelt_as_the_model_spells(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = arpa(tmp_path / "a.arpa", ["AB", "zz", "ab"], ["<s> ab"])
    lower = lm_scorer(path, tokenizer, normalize=str.lower, weight=1.0, bonus=0.0)
    assert score_of(lower, tokenizer.encode("ab")) == pytest.approx(
        (-0.1 - 0.3 - 1.5) * math.log(10)
    )


def test_pieces(tokenizer: Tokenizer, tmp_path: Path) -> None:
    scorer = lm_scorer(
        arpa(tmp_path / "a.arpa", tokenizer.vocabulary[2:], []), tokenizer, weight=1.0, bonus=0.5
    )
    for text in ("ab", "ab ba"):
        tokens = tokenizer.encode(text)
        listed = math.log(10) * (-0.3 - 1.5) * (len(tokens) + 1)
        assert score_of(scorer, tokens) == pytest.approx(listed + 0.5 * len(text.split()))
    other = arpa(tmp_path / "b.arpa", ["\u2581zz"], [])
    with pytest.raises(InputError, match=r"b.arpa: piece '▁zz' is not among the tokenizer's 12"):
        lm_scorer(other, tokenizer, weight=1.0, bonus=0.0)


def test_models_of_nothing_the_model_writes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = arpa(tmp_path / "a.arpa", ["X", "Y"], [])
    with pytest.raises(InputError, match="the model can write none of its 5 words"):
        lm_scorer(path, tokenizer, weight=1.0, bonus=0.0)
    chinese = Tokenizer.train(["你好吗", "我很好"], kind="char", vocab_size=10)
    with pytest.raises(InputError, match="has no spaces between them"):
        lm_scorer(path, chinese, weight=1.0, bonus=0.0)


def test_a_beam_adds_a_language_model_and_hotwords(tmp_path: Path) -> None:
    letters = Tokenizer.train(TEXTS, kind="char", vocab_size=10)
    path = [token for one in letters.encode("ab bb") for token in (one, letters.blank_id)]
    probs_TV = torch.full((len(path), letters.vocab_size), 1e-9)
    probs_TV[torch.arange(len(path)), path] = 1.0
    probs_TV[-2, letters.encode("a")[-1]] = 0.7
    log_probs_BTV: Tensor = (probs_TV / probs_TV.sum(-1, keepdim=True)).log()[None]

    def text(decoder: BeamDecoder) -> str:
        (found,) = decoder(log_probs_BTV, torch.tensor([len(path)]))
        return letters.decode(found.token_ids)

    lm = str(arpa(tmp_path / "a.arpa", ["ab", "ba"]))
    assert text(BeamDecoder(beam=8)) == "ab bb"
    decoder = BeamDecoder(beam=8, lm=lm, lm_weight=3.0, lm_word_bonus=0.0)
    decoder.read_lm(letters, str)
    assert text(decoder) == "ab ba"
    decoder.scorers = (*decoder.scorers, hotword_automaton([Hotword("bb")], letters, weight=12.0))
    assert text(decoder) == "ab bb"
