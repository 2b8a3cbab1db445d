"""What a search is: from the output of a head to hypotheses, with labels that can be stitched.

`GreedyDecoder` and `BeamDecoder` search CTC, `TransducerGreedy` and `TransducerBeam` a transducer,
`HybridBeam` and `HybridRescore` a hybrid head. What `label` finds in a chunk is kept frame by
frame, so that the chunks of a long recording can be cut and joined at any frame.

Shape legend: B batch, T frames, X what a head gives of a frame.
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
from asr.decode.fusion import FusedSearch
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

BEAMS: dict[str, type[FusedSearch]] = {"ctc": BeamDecoder, "transducer": TransducerBeam}
"""By the name of a head, the search that language models and hotwords add to."""


class Search(Protocol):
    """Reads what `Head.forward` gives, of the head that ``head_name`` of the class states.

    A class without ``head_name`` reads a CTC head. One with ``moves_together`` searches a batch
    step by step, so that more utterances at once cost little more.
    """

    def __call__(self, outputs_BTX: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
        """One hypothesis for each utterance; frames behind a length are not read."""

    def label(self, outputs_BTX: Tensor, lengths_B: Tensor, /) -> Sequence[Labels]:
        """What was found in the frames of each utterance."""

    def blanks(self, num_frames: int, /) -> Labels:
        """The labels of frames in which nothing is said."""

    def collapse(self, labels: Any, /) -> Hypothesis:
        """The hypothesis that labels spell."""


class Spelling(Protocol):
    """What a search needs of the text of a model, for language models."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model."""

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """The normalisation of its transcripts."""


def build_search(
    config: Mapping[str, Any], model: AcousticModel, text: Spelling | None = None
) -> Search:
    """The search of the config group ``decode``, for the head of ``model``.

    A class with a parameter ``head`` gets the head. An exported model gives log probabilities as a
    CTC head does. A language model is read where ``text`` is given.

    Raises:
        InputError: see `build`; the search reads another head; or a language model that cannot be
            read.
    """
    head = model.head if isinstance(model, AsrModel) else None
    name = "ctc" if head is None else head.name
    target = target_class(config, "decode")
    reads = getattr(target, "head_name", "ctc")
    if reads != name:
        raise InputError(
            f"decode.{TARGET}={config[TARGET]}: searches what a {reads} head gives; the head of "
            f"this model is {name} (configs/decode has its searches)"
        )
    injected = {"head": head} if "head" in inspect.signature(target).parameters else {}
    search: Search = build(config, "decode", **injected)
    if text is not None and isinstance(search, FusedSearch):
        search.read_lm(text.tokenizer, text.normalizer, model.device)
    return search


def with_beam(config: Mapping[str, Any]) -> dict[str, Any]:
    """The search of a model's ``config``, or that of its head with a beam that scorers add to.

    Raises:
        InputError: its head has no such search.
    """
    decode = dict(config["decode"])
    if issubclass(target_class(decode, "decode"), FusedSearch):
        return decode
    name = getattr(target_class(config["head"], "head"), "name", "ctc")
    if name not in BEAMS:
        raise InputError(
            f"a beam that language models and hotwords add to: of {' and '.join(BEAMS)} heads; "
            f"the head of this model is {name}"
        )
    return {TARGET: f"{BEAMS[name].__module__}.{BEAMS[name].__qualname__}"}


def temperature_of(config: Mapping[str, Any], search: Search) -> float:
    """The temperature of the confidences of ``search`` in a package's config; 1 where none is.

    Raises:
        InputError: it is no number above 0.
    """
    kept = config.get(CONFIDENCE, {})
    found = kept.get(search_name(search), 1.0) if isinstance(kept, Mapping) else kept
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise InputError(f"{CONFIDENCE}={shown(found)} of the model: a number above 0 is expected")
    return float(found)


def search_name(search: Search) -> str:
    """The class of a search, as the ``_target_`` of a config names it."""
    return f"{type(search).__module__}.{type(search).__qualname__}"


HOTWORD_WEIGHT = 0.5
"""What each character of a hotword adds to the score, unless told: a natural logarithm."""


def with_hotwords(
    search: FusedSearch,
    hotwords: Iterable[Hotword],
    text: Spelling,
    weight: float = HOTWORD_WEIGHT,
) -> FusedSearch:
    """The same search with ``hotwords`` too; see `hotword_automaton`."""
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
) -> Search:
    """The search of a model, with what is given: see `asr.load`.

    Raises:
        InputError: see `build_search`, `with_beam` and `hotword_automaton`; or a weight of no
            language model.
    """
    given = {
        "beam": beam,
        "lm": None if lm is None else str(lm),
        "lm_weight": lm_weight,
        "lm_word_bonus": lm_word_bonus,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if lm is None and (lm_weight is not None or lm_word_bonus is not None):
        raise InputError("lm_weight and lm_word_bonus are of a language model; give lm too")
    decode = recogniser.config["decode"]
    if changes or hotwords:
        decode = {**with_beam(recogniser.config), **changes}
    search = build_search(decode, recogniser.model, recogniser)
    if not hotwords:
        return search
    assert isinstance(search, FusedSearch)
    boosts = hotwords if isinstance(hotwords, Mapping) else dict.fromkeys(hotwords, 1.0)
    phrases = [Hotword(phrase, boost) for phrase, boost in boosts.items()]
    return cast(Search, with_hotwords(search, phrases, recogniser, hotword_weight))


def notice_of(search: Search) -> str:
    """What a search has to say when it is done, one line; empty if there is nothing."""
    return str(getattr(search, "notice", ""))
