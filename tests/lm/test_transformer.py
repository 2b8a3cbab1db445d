"""The Transformer language model: whole or token by token, and in a beam search."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr.decode.beam import BeamDecoder
from asr.decode.language_model import sequence_scores
from asr.errors import InputError
from asr.lm import transformer
from asr.lm.transformer import NeuralScorer, TransformerLm
from asr.text.tokenizer import Tokenizer

TEXTS = ("the cat sat on the mat", "a dog ran")
TOKENIZER = Tokenizer.train(TEXTS, kind="char", vocab_size=30)
V = TOKENIZER.vocab_size


def make(vocab_size: int = V, **changed: Any) -> TransformerLm:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "num_heads": 2, "ffn_dim": 12, "d_model": 8}
    model = TransformerLm(vocab_size=vocab_size, **{**sizes, **changed})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.eval()


def log_prob(model: TransformerLm, ids: list[int]) -> float:
    """The sum over a sentence and its end, alone."""
    with torch.no_grad():
        scores_NS = model(torch.tensor([ids], dtype=torch.int64), torch.tensor([len(ids)]))
    return float(scores_NS.double().sum())


@torch.no_grad()
def test_sentences_of_two_tokens_have_a_probability_of_one_together() -> None:
    model = make(vocab_size=4)
    short = [[], *([one] for one in range(1, 4))]
    given_NU = torch.tensor([*product(range(1, 4), repeat=2)])
    log_probs_NS = model(given_NU, torch.full((9,), 2))
    begun = log_probs_NS[:, :2].sum(1).exp().sum()  # two tokens, and whatever follows
    ended = sum(math.exp(log_prob(model, one)) for one in short)
    assert float(begun) + ended == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("groups", [[], [2, 1], [3]])
@torch.no_grad()
def test_padding_changes_nothing_and_rows_of_unequal_length_go_on_together(
    groups: list[int],
) -> None:
    model = make(groups=groups)
    ids_NU = torch.randint(1, V, (3, 6))
    lengths_N = torch.tensor([6, 3, 1])
    whole_NS = model(ids_NU, lengths_N)
    for row, length in enumerate(lengths_N.tolist()):
        alone = model(ids_NU[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(whole_NS[row : row + 1, : length + 1], alone)
        assert not whole_NS[row, length + 1 :].any()

    # The last step of each row, of which the others keep 5, 2 and no tokens behind the start.
    given_NS = nn.functional.pad(ids_NU, (1, 0))
    num_kept_N = lengths_N
    longest = int(num_kept_N.max())
    _, caches = model.decoder(given_NS[:, :longest], None)
    aligned = [tuple(torch.full_like(one, 9.0) for one in layer) for layer in caches]
    for row, number in enumerate(num_kept_N.tolist()):
        for layer, kept in zip(aligned, caches, strict=True):
            for into, one in zip(layer, kept, strict=True):
                into[row, :, longest - number :] = one[row, :, :number]
    log_probs_NV, _ = model.next_tokens(given_NS[range(3), num_kept_N], aligned, num_kept_N)
    ends_N = whole_NS[range(3), lengths_N]
    torch.testing.assert_close(log_probs_NV[:, 0], ends_N, atol=1e-5, rtol=1e-5)


def test_followers_keep_no_keys_and_have_no_queries() -> None:
    model = make(groups=[3])
    names = {name for name, _ in model.named_parameters()}
    assert "decoder.layers.0.own.query.weight" in names
    assert "decoder.layers.1.own.query.weight" not in names
    assert not any("cross" in name for name in names)
    with torch.no_grad():
        _, new = model.next_tokens(torch.tensor([0]), None, torch.tensor([0]))
    assert [len(layer) for layer in new] == [2, 1, 1]


@settings(max_examples=20, deadline=None)
@given(
    sentences=st.lists(st.lists(st.integers(1, V - 1), max_size=9), min_size=1, max_size=12),
    groups=st.sampled_from([[], [2, 1]]),
)
def test_a_search_gets_what_the_model_gives_whole_sentences(
    sentences: list[list[int]], groups: list[int]
) -> None:
    model = make(groups=groups)
    scorer = NeuralScorer(model, TOKENIZER, weight=0.5, bonus=2.0)
    begins = [piece.startswith("\u2581") for piece in TOKENIZER.vocabulary]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "_MIN_SLOTS", 2)  # slots are made and used again
        found = sequence_scores(scorer, sentences)
    for ids, score in zip(sentences, found, strict=True):
        bonus = 2.0 * sum(begins[one] for one in ids)
        assert score == pytest.approx(0.5 * log_prob(model, ids) + bonus, abs=1e-4)


@pytest.mark.parametrize("min_slots", [2, 1024])
def test_a_beam_adds_what_the_model_gives(min_slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "_MIN_SLOTS", min_slots)
    model = make()
    scorer = NeuralScorer(model, TOKENIZER, weight=0.7, bonus=0.3)
    log_probs_BTV = (2 * torch.randn(3, 30, V)).log_softmax(-1)
    lengths_B = torch.tensor([30, 11, 0])
    decoder = BeamDecoder(beam=8, scorers=[scorer])
    found = decoder.search(log_probs_BTV, lengths_B)
    assert max(len(one.token_ids) for one in found[0]) > 8
    for listed in found:
        for one in listed:
            (expected,) = sequence_scores(scorer, [one.token_ids])
            assert one.added == pytest.approx(expected, abs=1e-4)
    for row, length in enumerate(lengths_B.tolist()):
        (alone,) = decoder.search(log_probs_BTV[row : row + 1, :length], lengths_B[row : row + 1])
        assert [one.token_ids for one in alone] == [one.token_ids for one in found[row]]


def test_prefixes_that_a_search_drops_take_no_memory() -> None:
    scorer = NeuralScorer(make(), TOKENIZER, weight=1.0, bonus=0.0).for_search()
    states = torch.zeros(1, 4, dtype=torch.int64)
    for step in range(3000):
        tokens = torch.randint(1, V, (1, 4))
        _, states = scorer.advance(states, tokens)
        if step % 50 == 49:  # a new sentence
            states = torch.zeros_like(states)
    assert len(scorer._nodes._ancestors) <= 2 * transformer._MIN_SLOTS


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match=r"lm\.num_heads=3 does not divide the width 8"):
        make(num_heads=3)
    with pytest.raises(InputError, match=r"lm\.groups"):
        make(groups=[2])
