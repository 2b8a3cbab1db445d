"""Language models and hotwords in a search: shallow fusion and rescoring.

Shallow fusion adds to the scores of prefixes during the search; rescoring adds to the scores of
whole sequences after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from asr.decode.language_model import read_language_model, sequence_scores
from asr.errors import InputError
from asr.lm.automaton import TokenScorer
from asr.text.tokenizer import Tokenizer
from asr.types import ScoredTokens

_IMPROBABLE = 3.0
"""Nats per token by which the best path's acoustic probability may exceed the best text's."""


class FusedSearch:
    """The part of a search that adds language models and other scorers, token by token.

    Args:
        lm: path of a language model, see `read_language_model`; None: none.
        lm_weight: factor on its log probabilities.
        lm_word_bonus: added to the score per word.
        lodr: path of a low-order n-gram model of the recogniser's training text, which is
            subtracted from ``lm`` (low-order density ratio, Zheng et al. 2022); None: none.
        lodr_weight: factor on its log probabilities.
        scorers: further scorers to add, such as hotwords.

    Raises:
        InputError: ``lodr`` is given without ``lm``.
    """

    def __init__(
        self,
        *,
        lm: str | None,
        lm_weight: float,
        lm_word_bonus: float,
        lodr: str | None,
        lodr_weight: float,
        scorers: Sequence[TokenScorer],
    ) -> None:
        if lodr is not None and lm is None:
            raise InputError(f"decode.lodr={lodr}: it is subtracted from decode.lm; set that too")
        self.lm = lm
        self.lm_weight = lm_weight
        self.lm_word_bonus = lm_word_bonus
        self.lodr = lodr
        self.lodr_weight = lodr_weight
        self.lm_scorer: TokenScorer | None = None
        self.scorers = scorers
        self._improbable: list[tuple[int, int]] = []  # per batch: all texts, improbable texts

    def read_lm(
        self,
        tokenizer: Tokenizer,
        normalize: Callable[[str], str],
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the language models and add them; raise as `read_language_model` does."""
        if self.lm is not None:
            make = read_language_model(Path(self.lm), tokenizer, normalize, device)
            self.lm_scorer = make(self.lm_weight, self.lm_word_bonus)
            self.scorers = (*self.scorers, self.lm_scorer)
        if self.lodr is not None:
            make = read_language_model(Path(self.lodr), tokenizer, normalize, device)
            self.scorers = (*self.scorers, make(-self.lodr_weight, 0.0))

    @property
    def is_fused(self) -> bool:
        """Whether any scorer or language model is added."""
        return bool(self.scorers)

    def compare_with_audio(self, lost: Sequence[float], num_tokens: Sequence[int]) -> None:
        """Count texts that are acoustically far less probable than the best that the audio gives.

        ``lost``: the difference in log probability of each utterance, with ``num_tokens`` tokens.
        """
        far = [
            one > _IMPROBABLE * max(1, number) for one, number in zip(lost, num_tokens, strict=True)
        ]
        self._improbable.append((len(far), sum(far)))

    @property
    def warning(self) -> str:
        """Warning that the scorers outweigh the audio; empty if they do not."""
        num_texts = sum(texts for texts, _ in self._improbable)
        num_improbable = sum(improbable for _, improbable in self._improbable)
        if num_improbable <= num_texts / 2:
            return ""
        return (
            f"language models and hotwords outweigh the audio: in {num_improbable:,} of "
            f"{num_texts:,} chunks the text is acoustically far less probable than the best path; "
            "lower --lm-weight, --rescore-weight or --hotword-weight"
        )


class FusedBeam(FusedSearch):
    """The part of a beam search that adds scorers and reorders the final sequences.

    Args:
        rescore_lm: path of a language model that reorders the final sequences; None: none.
        rescore_weight, rescore_word_bonus: its factor and bonus.
        **fusion: arguments of `FusedSearch`.
    """

    def __init__(
        self,
        *,
        rescore_lm: str | None,
        rescore_weight: float,
        rescore_word_bonus: float,
        **fusion: Any,
    ) -> None:
        super().__init__(**fusion)
        self.rescore_lm = rescore_lm
        self.rescore_weight = rescore_weight
        self.rescore_word_bonus = rescore_word_bonus
        self.rescorer: TokenScorer | None = None

    def read_lm(
        self,
        tokenizer: Tokenizer,
        normalize: Callable[[str], str],
        device: torch.device | str = "cpu",
    ) -> None:
        """See `FusedSearch.read_lm`."""
        super().read_lm(tokenizer, normalize, device)
        if self.rescore_lm is not None:
            make = read_language_model(Path(self.rescore_lm), tokenizer, normalize, device)
            self.rescorer = make(self.rescore_weight, self.rescore_word_bonus)

    @property
    def is_fused(self) -> bool:
        """Whether any scorer or language model is added."""
        return super().is_fused or self.rescorer is not None

    def ordered(
        self, found: list[list[ScoredTokens]], device: torch.device
    ) -> list[list[ScoredTokens]]:
        """Order the sequences of a search by ``rescore_lm``, if there is one."""
        return found if self.rescorer is None else rescored(found, self.rescorer, device)


def rescored(
    found: Sequence[Sequence[ScoredTokens]], scorer: TokenScorer, device: torch.device | str
) -> list[list[ScoredTokens]]:
    """Add the scores of ``scorer`` to the sequences of each utterance, and sort them."""
    sequences = [one.token_ids for each in found for one in each]
    scores = iter(sequence_scores(scorer, sequences, device))
    added = [[replace(one, added=one.added + next(scores)) for one in each] for each in found]
    return [sorted(each, key=lambda one: -one.score) for each in added]
