"""What adds to a beam search from outside: language models, in it and behind it, and hotwords.

What is added to the score of a prefix while the search runs is shallow fusion; what is added to the
whole sequences of its result is rescoring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from asr.decode.language_model import read_language_model, sequence_scores
from asr.errors import InputError
from asr.lm.automaton import TokenScorer
from asr.text.tokenizer import Tokenizer
from asr.types import ScoredTokens

_IMPROBABLE = 3.0
"""Nats a token that the best text may be less probable by the audio than its best path."""


class FusedSearch:
    """A beam search that scorers add to.

    Args:
        lm: a language model, which `read_language_model` reads; None: none.
        lm_weight: what its natural logarithms are multiplied by.
        lm_word_bonus: what every word adds to the score.
        lodr: an n-gram model of low order of the text that the recogniser was trained on, which is
            subtracted from ``lm`` (low-order density ratio, Zheng et al. 2022); None: none.
        lodr_weight: what its natural logarithms are multiplied by.
        rescore_lm: a language model that orders the sequences of the last beam anew; None: none.
        rescore_weight, rescore_word_bonus: of it.
        scorers: further ones, such as hotwords, which are added up.

    Raises:
        InputError: ``lodr`` without ``lm``.
    """

    def __init__(
        self,
        *,
        lm: str | None,
        lm_weight: float,
        lm_word_bonus: float,
        lodr: str | None,
        lodr_weight: float,
        rescore_lm: str | None,
        rescore_weight: float,
        rescore_word_bonus: float,
        scorers: Sequence[TokenScorer],
    ) -> None:
        if lodr is not None and lm is None:
            raise InputError(f"decode.lodr={lodr}: it is subtracted from decode.lm; set that too")
        self.lm = lm
        self.lm_weight = lm_weight
        self.lm_word_bonus = lm_word_bonus
        self.lodr = lodr
        self.lodr_weight = lodr_weight
        self.rescore_lm = rescore_lm
        self.rescore_weight = rescore_weight
        self.rescore_word_bonus = rescore_word_bonus
        self.lm_scorer: TokenScorer | None = None
        self.rescorer: TokenScorer | None = None
        self.scorers = scorers
        self._improbable: list[tuple[int, int]] = []  # texts of every batch, and improbable ones

    def read_lm(
        self,
        tokenizer: Tokenizer,
        normalize: Callable[[str], str],
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the language models and score with them; InputError as `read_language_model`."""

        def read(path: str, weight: float, bonus: float) -> TokenScorer:
            make = read_language_model(Path(path), tokenizer, normalize, device)
            return make(weight, bonus)

        if self.lm is not None:
            self.lm_scorer = read(self.lm, self.lm_weight, self.lm_word_bonus)
            self.scorers = (*self.scorers, self.lm_scorer)
        if self.lodr is not None:
            self.scorers = (*self.scorers, read(self.lodr, -self.lodr_weight, 0.0))
        if self.rescore_lm is not None:
            self.rescorer = read(self.rescore_lm, self.rescore_weight, self.rescore_word_bonus)

    @property
    def is_fused(self) -> bool:
        """Whether anything but the audio decides."""
        return bool(self.scorers) or self.rescorer is not None

    def ordered(
        self, found: list[list[ScoredTokens]], device: torch.device
    ) -> list[list[ScoredTokens]]:
        """The sequences of a search in the order of ``rescore_lm``, where there is one."""
        return found if self.rescorer is None else rescored(found, self.rescorer, device)

    def compare_with_audio(
        self,
        found: Sequence[Sequence[ScoredTokens]],
        heard: Sequence[float],
        num_tokens: Sequence[int],
    ) -> None:
        """Count texts that are far less probable by the audio than what it says alone.

        ``heard`` is the log probability of the best path of each utterance, with ``num_tokens``.
        """
        far = [
            path - one[0].acoustic > _IMPROBABLE * max(1, number)
            for one, path, number in zip(found, heard, num_tokens, strict=True)
        ]
        self._improbable.append((len(far), sum(far)))

    @property
    def warning(self) -> str:
        """What is to be said where the scorers outweigh the audio; empty if they do not."""
        num_texts = sum(texts for texts, _ in self._improbable)
        num_improbable = sum(improbable for _, improbable in self._improbable)
        if num_improbable <= num_texts / 2:
            return ""
        return (
            f"language models and hotwords outweigh the audio: in {num_improbable:,} of "
            f"{num_texts:,} chunks the text is far less probable by the audio alone than what was "
            "heard; lower --lm-weight, --rescore-weight or --hotword-weight"
        )


def rescored(
    found: Sequence[Sequence[ScoredTokens]], scorer: TokenScorer, device: torch.device | str
) -> list[list[ScoredTokens]]:
    """The sequences of each utterance in their new order, with what ``scorer`` adds."""
    sequences = [one.token_ids for each in found for one in each]
    scores = iter(sequence_scores(scorer, sequences, device))
    added = [[replace(one, added=one.added + next(scores)) for one in each] for each in found]
    return [sorted(each, key=lambda one: -one.score) for each in added]
