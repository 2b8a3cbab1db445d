"""Records that cross package borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""Dtypes an encoder can compute in. With int8 only matrix products are int8, the rest float32."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """One channel of audio: ``samples`` float32 (N,), at ``sample_rate_hz``."""

    samples: NDArray[np.float32]
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded utterances with their transcripts.

    ``waveforms_BN`` float32 and ``waveform_lengths_B`` in samples; ``token_ids_BU`` and
    ``token_lengths_B`` in tokens. Padding is zero in both.
    """

    utterance_ids: tuple[str, ...]
    texts: tuple[str, ...]
    waveforms_BN: Tensor
    waveform_lengths_B: Tensor
    token_ids_BU: Tensor
    token_lengths_B: Tensor

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return replace(
            self,
            waveforms_BN=self.waveforms_BN.to(device, non_blocking=True),
            waveform_lengths_B=self.waveform_lengths_B.to(device, non_blocking=True),
            token_ids_BU=self.token_ids_BU.to(device, non_blocking=True),
            token_lengths_B=self.token_lengths_B.to(device, non_blocking=True),
        )


class LayerOutput(NamedTuple):
    """``frames_BTD`` with ``lengths_B`` valid frames each; frames after a length are undefined."""

    frames_BTD: Tensor
    lengths_B: Tensor


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """``frames_BTD`` with ``lengths_B`` valid frames each; frames after a length are undefined.

    ``intermediate`` holds the output of each requested layer, in order.
    """

    frames_BTD: Tensor
    lengths_B: Tensor
    intermediate: tuple[LayerOutput, ...] = ()


LabelsT = TypeVar("LabelsT", bound="Labels")


class Labels(Protocol):
    """The result of a search over T frames, which can be cut and joined between any two frames."""

    def first_ids(self) -> Tensor:
        """Return (T,): the first token of each frame, or blank, used to compare chunks."""

    def __len__(self) -> int: ...

    def __getitem__(self: LabelsT, frames: slice, /) -> LabelsT: ...

    def joined(self: LabelsT, following: Sequence[LabelsT], /) -> LabelsT:
        """Return these frames followed by those of ``following``."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result of decoding one utterance.

    ``token_frames`` is the encoder frame at which each token was emitted, ``token_ends`` the frame
    after its last repetition, ``score`` the log probability of the path. ``token_scores`` are the
    mean log probabilities of each token in its frames; empty if unknown.
    """

    token_ids: tuple[int, ...]
    token_frames: tuple[int, ...]
    token_ends: tuple[int, ...]
    score: float
    token_scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredTokens:
    """A token sequence of a beam; ``acoustic`` is its log probability by the recogniser.

    ``added`` is the weighted sum of its scores from language models and hotwords.
    """

    token_ids: tuple[int, ...]
    acoustic: float
    added: float = 0.0

    @property
    def score(self) -> float:
        """The score by which sequences are ranked."""
        return self.acoustic + self.added


@dataclass(frozen=True, slots=True)
class UtteranceResult:
    """One decoded utterance; ``ref`` and ``speaker`` are None if unknown.

    ``confidences`` are those of the words of ``hyp``, empty if unknown.
    """

    utterance_id: str
    hyp: str
    duration_s: float
    ref: str | None = None
    audio_path: str | None = None
    speaker: str | None = None
    confidences: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPieces:
    """Pieces of a new vocabulary that keep their rows of the head, new pieces, and dropped ones."""

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]
