"""Reading a language model for a search, and scoring whole sequences with it.

Shape legend: N sequences, U tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.errors import InputError, printable
from asr.lm.automaton import TokenScorer
from asr.lm.lexicon import lm_scorer
from asr.lm.ngram import read_arpa
from asr.lm.transformer import NeuralScorer
from asr.model.language_model import load_lm
from asr.text.tokenizer import Tokenizer

MakeScorer = Callable[[float, float], TokenScorer]
"""Makes a scorer from a factor on log probabilities and a bonus per word."""


def read_language_model(
    path: Path,
    tokenizer: Tokenizer,
    normalize: Callable[[str], str],
    device: torch.device | str = "cpu",
) -> MakeScorer:
    """Read an n-gram model from an ARPA file, or a neural model from its folder.

    Raises:
        InputError: see `read_arpa` and `load_lm`; or a neural model has other tokens. The returned
            function raises as `lm_scorer` does.
    """
    if path.is_dir():
        package = load_lm(path, device)
        check_tokens(package.tokenizer, tokenizer, path)
        return lambda weight, bonus: NeuralScorer(
            package.model, tokenizer, weight=weight, bonus=bonus
        )
    model = read_arpa(path)
    make = partial(lm_scorer, path, tokenizer, normalize=normalize, model=model)
    return lambda weight, bonus: make(weight=weight, bonus=bonus)


def check_tokens(theirs: Tokenizer, ours: Tokenizer, path: Path) -> None:
    """Raise InputError unless a language model has the tokens of the recogniser."""
    if theirs.vocabulary == ours.vocabulary:
        return
    pairs = zip(theirs.vocabulary, ours.vocabulary, strict=False)
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    how = (
        f"{theirs.vocab_size:,} tokens, not {ours.vocab_size:,}"
        if first is None
        else f"{printable(first[0])!r} where the recogniser has {printable(first[1])!r}"
    )
    raise InputError(
        f"{path}: a language model over other tokens than the recogniser's ({how}); train it with "
        "text.tokenizer.model=RECOGNISER/tokenizer.model"
    )


def sequence_scores(
    scorer: TokenScorer, sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> list[float]:
    """Score whole sequences of tokens with their ends."""
    if not sequences:
        return []
    scorer = scorer.for_search()
    ids_NU = pad_sequence(
        [torch.tensor(one, dtype=torch.int64) for one in sequences], batch_first=True
    ).to(device)
    lengths_N = torch.tensor([len(one) for one in sequences], device=device)
    states_N = torch.full_like(lengths_N, scorer.start)
    total_N = torch.zeros(len(sequences), dtype=torch.float64, device=device)
    for place in range(ids_NU.shape[1]):
        scores_N, following_N = scorer.advance(states_N, ids_NU[:, place])
        is_inside_N: Tensor = place < lengths_N
        total_N += torch.where(is_inside_N, scores_N, 0.0)
        states_N = torch.where(is_inside_N, following_N, states_N)
    total_N += scorer.finish(states_N)
    scores: list[float] = total_N.tolist()
    return scores
