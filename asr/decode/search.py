"""The interface of a search, from head outputs to hypotheses, and building of searches.

`GreedyDecoder` and `BeamDecoder` are for CTC, `TransducerGreedy` and `TransducerBeam` for a
transducer, `HybridBeam` and `HybridRescore` for a hybrid head, `FlashlightDecoder` for CTC with a
lexicon. `label` stores its result frame by
frame, so the chunks of a long recording can be cut and joined at any frame.

Shape legend: B batch, T frames, X head outputs per frame.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.decode.flashlight import FlashlightDecoder
from asr.decode.fusion import FusedBeam, FusedSearch
from asr.decode.hybrid import HybridBeam
from asr.decode.recogniser import AcousticModel, Recogniser
from asr.decode.transducer_beam import TransducerBeam
from asr.errors import InputError
from asr.lm.hotwords import Hotword, hotword_automaton
from asr.model.asr_model import AsrModel
from asr.model.build import TARGET, build, target_class
from asr.model.package import CONFIDENCE
from asr.ranges import shown
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.types import Hypothesis, Labels

BEAMS: dict[str, type[FusedBeam]] = {
    "ctc": BeamDecoder,
    "transducer": TransducerBeam,
    "hybrid": HybridBeam,
}
"""Beam searches with language models and hotwords, by the name of the head."""


class Search(Protocol):
    """A search over the output of `Head.forward`.

    The class attribute ``head_name`` names the kind of head; without it, it is CTC. A class with
    ``moves_together`` searches all utterances of a batch step by step, so larger batches cost
    little more.
    """

    def __call__(self, outputs_BTX: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
        """Return one hypothesis per utterance; frames after its end are ignored."""

    def label(self, outputs_BTX: Tensor, lengths_B: Tensor, /) -> Sequence[Labels]:
        """Return the labels of the frames of each utterance."""

    def blanks(self, num_frames: int, /) -> Labels:
        """Return the labels of frames without speech."""

    def collapse(self, labels: Any, /) -> Hypothesis:
        """Return the hypothesis that labels spell."""


class Spelling(Protocol):
    """Tokenizer and text normalisation of a model, for language models and hotwords."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the model."""

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """Normalisation of its transcripts."""


def build_search(
    config: Mapping[str, Any], model: AcousticModel, text: Spelling | None = None
) -> Search:
    """Build the search of the config group ``decode`` for the head of ``model``.

    A class with a parameter ``head`` gets the head. An exported model returns log probabilities
    like a CTC head. The language model is read if ``text`` is given.

    Raises:
        InputError: see `build`; the search is for another head; or the language model cannot be
            read.
    """
    head = model.head if isinstance(model, AsrModel) else None
    name = "ctc" if head is None else head.name
    target = target_class(config, "decode")
    reads = getattr(target, "head_name", "ctc")
    if reads != name:
        raise InputError(
            f"decode.{TARGET}={config[TARGET]}: is a search for a {reads} head; the head of "
            f"this model is {name} (configs/decode has its searches)"
        )
    injected = {"head": head} if "head" in inspect.signature(target).parameters else {}
    search: Search = build(config, "decode", **injected)
    if text is not None and isinstance(search, FusedSearch | FlashlightDecoder):
        search.read_lm(text.tokenizer, text.normalizer, model.device)
    return search


def with_beam(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model's search if it takes scorers, or else of its head's beam.

    TDT has no beam: scorers add to its greedy search. A search of a lexicon stays as it is.

    Raises:
        InputError: the head has no beam search that takes scorers.
    """
    decode = dict(config["decode"])
    target = target_class(decode, "decode")
    has_beam = not config["head"].get("durations")
    if issubclass(target, (FusedBeam if has_beam else FusedSearch, FlashlightDecoder)):
        return decode
    name = getattr(target_class(config["head"], "head"), "name", "ctc")
    if name not in BEAMS:
        raise InputError(
            f"beam search with language models and hotwords: for {', '.join(BEAMS)} heads; "
            f"the head of this model is {name}"
        )
    return {TARGET: target_name(BEAMS[name])}


def temperature_of(config: Mapping[str, Any], search: Search) -> float:
    """Return a package's confidence temperature for ``search``; 1 if it has none.

    Raises:
        InputError: it is not a number above 0.
    """
    kept = config.get(CONFIDENCE, {})
    found = kept.get(search_name(search), 1.0) if isinstance(kept, Mapping) else kept
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise InputError(f"{CONFIDENCE}={shown(found)} of the model: a number above 0 is expected")
    return float(found)


def search_name(search: Search) -> str:
    """Return the class of a search as the ``_target_`` of a config names it."""
    return target_name(type(search))


def target_name(kind: type) -> str:
    """Return a class as the ``_target_`` of a config names it."""
    return f"{kind.__module__}.{kind.__qualname__}"


HOTWORD_WEIGHT = 0.5
"""Default score of each character of a hotword, a natural logarithm."""


def with_hotwords(
    search: FusedSearch,
    hotwords: Iterable[Hotword],
    text: Spelling,
    weight: float = HOTWORD_WEIGHT,
) -> FusedSearch:
    """Return the same search with ``hotwords``; see `hotword_automaton`."""
    automaton = hotword_automaton(
        hotwords, text.tokenizer, normalize=text.normalizer, weight=weight
    )
    found = copy(search)
    found.scorers = (*search.scorers, automaton)
    return found


def load_search(
    recogniser: Recogniser,
    *,
    beam: int | None = None,
    hotwords: Sequence[str] | Mapping[str, float] = (),
    hotword_weight: float = HOTWORD_WEIGHT,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    lm_word_bonus: float | None = None,
    lexicon: str | Path | None = None,
) -> Search:
    """Build the search of a model with the given changes; see `asr.load`.

    Raises:
        InputError: see `build_search`, `with_beam` and `hotword_automaton`; a language model's
            weight is given without one, or hotwords for a search that takes none.
    """
    given = {
        "beam": beam,
        "lm": None if lm is None else str(lm),
        "lm_weight": lm_weight,
        "lm_word_bonus": lm_word_bonus,
        "lexicon": None if lexicon is None else str(lexicon),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if lm is None and (lm_weight is not None or lm_word_bonus is not None):
        raise InputError("lm_weight and lm_word_bonus need a language model; give lm too")
    decode = recogniser.config["decode"]
    if lexicon is not None:
        decode = {TARGET: target_name(FlashlightDecoder), **changes}
    elif changes or hotwords:
        decode = {**with_beam(recogniser.config), **changes}
    search = build_search(decode, recogniser.model, recogniser)
    if not hotwords:
        return search
    if not isinstance(search, FusedSearch):
        raise InputError(f"hotwords: {search_name(search)} takes none")
    boosts = hotwords if isinstance(hotwords, Mapping) else dict.fromkeys(hotwords, 1.0)
    phrases = [Hotword(phrase, boost) for phrase, boost in boosts.items()]
    return cast(Search, with_hotwords(search, phrases, recogniser, hotword_weight))


def notice_of(search: Search) -> str:
    """Return a search's summary line after decoding; empty if there is none."""
    return str(getattr(search, "notice", ""))
