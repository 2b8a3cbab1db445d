"""Finding the weight of a language model on a development set.

The utterances are encoded once, and searched once per pair of weights; if the language model only
rescores, they are searched just once.

Shape legend: B batch, T frames, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.data.dataset import stream_utterance
from asr.data.manifest import Utterances
from asr.decode.beam import BeamDecoder
from asr.decode.emissions import CtcModel, EmissionReader, TokenEmissions
from asr.decode.fusion import rescored
from asr.decode.labelling import FrameLabeller
from asr.decode.language_model import read_language_model
from asr.decode.vad import energy_speech
from asr.errors import InputError
from asr.metrics.wer import WordErrors, align_words
from asr.model.package import ModelPackage
from asr.types import ScoredTokens

WEIGHTS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
BONUSES = (0.0, 0.5, 1.0, 1.5)
_UTTERANCES_AT_ONCE = 64
_NEVER = -60.0


@dataclass(frozen=True, slots=True)
class Weighted:
    """The word error rate, in percent, for a weight of the language model and a word bonus."""

    weight: float
    bonus: float
    wer: float


def tune(
    package: ModelPackage,
    utterances: Utterances,
    decoder: BeamDecoder,
    *,
    weights: Sequence[float] = WEIGHTS,
    bonuses: Sequence[float] = BONUSES,
) -> list[Weighted]:
    """Return the error rate for every weight and bonus of the language model of ``decoder``.

    The tuned language model is the one that rescores, if there is one, else the fused one.

    Raises:
        InputError: no utterance can be read; see `read_language_model`.
    """
    path = decoder.rescore_lm or decoder.lm
    assert path is not None
    refs, outputs = encoded_split(package, utterances)
    make = read_language_model(Path(path), package.tokenizer, package.normalizer)
    others = [one for one in decoder.scorers if one is not decoder.lm_scorer]
    search = copy.copy(decoder)
    search.rescorer = None
    first_pass = None if decoder.rescore_lm is None else _searched(outputs, search)
    found = []
    for weight in weights:
        for bonus in bonuses:
            scorer = make(weight, bonus)
            if first_pass is None:
                search.scorers = (*others, scorer)
                best = _searched(outputs, search)
            else:
                best = rescored(first_pass, scorer, "cpu")
            texts = [
                " ".join(package.tokenizer.decode(those[0].token_ids).split()) for those in best
            ]
            errors = WordErrors.total(
                align_words(ref, text)[0] for ref, text in zip(refs, texts, strict=True)
            )
            found.append(Weighted(weight, bonus, errors.wer))
    return found


def encoded_split(package: ModelPackage, utterances: Utterances) -> tuple[list[str], list[Tensor]]:
    """Return references and log probabilities (T, V), in float16, of all readable utterances."""
    vocab_size = package.tokenizer.vocab_size
    labeller = FrameLabeller(
        CtcModel(package.model),
        EmissionReader(range(1, vocab_size)),
        chunk_s=30.0,
        overlap_s=4.0,
        vad=energy_speech,
    )
    rate_hz = package.model.frontend.sample_rate_hz
    recordings = [partial(stream_utterance, utterance, rate_hz) for utterance in utterances]
    refs, outputs = [], []
    for utterance, read in zip(utterances, labeller(recordings), strict=True):
        if not isinstance(read, InputError):
            assert isinstance(read.labels, TokenEmissions)
            refs.append(package.normalizer(utterance.text))
            outputs.append(read.labels.kept_TC)
    if not outputs:
        raise InputError(f"none of {len(utterances)} utterances could be read")
    return refs, outputs


def _searched(outputs: Sequence[Tensor], search: BeamDecoder) -> list[list[ScoredTokens]]:
    """Return the sequences of each utterance, the best first."""
    by_length = sorted(range(len(outputs)), key=lambda at: len(outputs[at]))
    found: dict[int, list[ScoredTokens]] = {}
    for first in range(0, len(by_length), _UTTERANCES_AT_ONCE):
        some = by_length[first : first + _UTTERANCES_AT_ONCE]
        log_probs_BTV = pad_sequence(
            [outputs[at].float() for at in some], batch_first=True, padding_value=_NEVER
        )
        lengths_B = torch.tensor([len(outputs[at]) for at in some])
        with torch.inference_mode():
            found |= zip(some, search.search(log_probs_BTV, lengths_B), strict=True)
    return [found[at] for at in range(len(outputs))]
