"""What a search is: from the output of a head to hypotheses, with labels that can be stitched.

`GreedyDecoder` and `BeamDecoder` search CTC, `TransducerGreedy` a transducer, `HybridBeam` and
`HybridRescore` a hybrid head. What `label` finds in a chunk is kept frame by frame, so that the
chunks of a long recording can be cut and joined at any frame.

Shape legend: B batch, T frames, X what a head gives of a frame.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from asr.decode.beam import BeamDecoder
from asr.decode.recogniser import AcousticModel
from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import TARGET, build, target_class
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.types import Hypothesis, Labels


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
    if text is not None and isinstance(search, BeamDecoder):
        search.read_lm(text.tokenizer, text.normalizer, model.device)
    return search


def notice_of(search: Search) -> str:
    """What a search has to say when it is done, one line; empty if there is nothing."""
    return str(getattr(search, "notice", ""))
