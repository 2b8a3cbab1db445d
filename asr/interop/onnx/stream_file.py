"""A file of `asr export --stream` as a streaming model, and loading of any exported file.

Shape legend: B streams, F mel bins, W frames of a block, C of its chunk, V vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from asr.encoder.streaming import EncoderState, subsampled
from asr.errors import InputError
from asr.features.frontend import Frontend
from asr.files import read_bytes
from asr.interop.onnx.check import MAX_ONNX_BYTES
from asr.interop.onnx.file import LEAST_LIMIT_S, OnnxPackage, OpenedFile, open_onnx, whole_of
from asr.interop.onnx.stream_step import KEPT, STREAM, StepSession
from asr.model.build import build_frontend
from asr.nn.chunks import ChunkContext
from asr.ranges import ChunkFrames, ContextFrames, Range, check_value
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

_Sizes = list[Annotated[int, Range(1, 1_000_000)]]
_MOST_TENSORS, _MOST_NUMBERS = 10_000, 2**28


class OnnxStream:
    """An exported streaming model: blocks of features to log probabilities."""

    device = torch.device("cpu")
    runs_in_threads = False
    """False, since the session has its own threads."""

    def __init__(
        self,
        step: StepSession,
        *,
        context: ChunkContext,
        shapes: list[list[int]],
        frontend: Frontend,
        subsampling_factor: int,
        vocab_size: int,
        where: Path | str,
    ) -> None:
        self.context = context
        self.frontend = frontend
        self.subsampling_factor = subsampling_factor
        self.vocab_size = vocab_size
        self._step = step
        self._shapes = shapes
        self._where = where

    @property
    def frame_shift_s(self) -> float:
        """Seconds of audio per output frame."""
        return self.frontend.frame_shift_ms / 1000 * self.subsampling_factor

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Refuse whole utterances.

        Raises:
            InputError: always.
        """
        chunk_ms = 1000 * self.context.chunk_frames * self.frame_shift_s
        raise InputError(f"{self._where} holds a stream: transcribe with --stream {chunk_ms:g}")

    def start(self, num_streams: int) -> EncoderState:
        """Return the state of new streams."""
        kept = tuple(torch.zeros(num_streams, *shape) for shape in self._shapes)
        return EncoderState(self.context, torch.zeros(num_streams, dtype=torch.long), kept)

    def encode(
        self, features_BTF: Tensor, lengths_B: Tensor, state: EncoderState
    ) -> tuple[Tensor, Tensor, EncoderState]:
        """Return log probabilities (B, C, V) of a block, lengths, and the next state.

        Raises:
            InputError: the graph fails, takes too long, or returns anything else.
        """
        log_probs_BCV, found_B, _, following = self._step(
            features_BTF, lengths_B, state, limit_s=LEAST_LIMIT_S
        )
        expected_B = subsampled(lengths_B, self.subsampling_factor)
        expected_B = expected_B.clamp_max(self.context.chunk_frames)
        shape = (len(lengths_B), self.context.chunk_frames, self.vocab_size)
        if (
            log_probs_BCV.dtype != torch.float32
            or tuple(log_probs_BCV.shape) != shape
            or found_B.tolist() != expected_B.tolist()
            or [one.shape for one in following.kept] != [one.shape for one in state.kept]
        ):
            raise InputError(f"{self._where}: its graph does not give what a block has")
        return log_probs_BCV, found_B, following


@dataclass(frozen=True, slots=True)
class OnnxStreamPackage:
    """A loaded file for streams."""

    config: dict[str, Any]
    model: OnnxStream
    tokenizer: Tokenizer
    normalizer: TranscriptNormalizer


def load_exported(path: Path) -> OnnxPackage | OnnxStreamPackage:
    """Load a file that `asr export` wrote, for whole utterances or streams.

    Raises:
        InputError: no such file, not one of this toolkit, or one that is refused, see `open_onnx`.
    """
    opened = open_onnx(read_bytes(path, most=MAX_ONNX_BYTES), where=path)
    return stream_of(opened) if STREAM in opened.stored else whole_of(opened)


def stream_of(opened: OpenedFile) -> OnnxStreamPackage:
    """Return the streaming model in a file.

    Raises:
        InputError: its sizes are out of range, or its graph fails.
    """
    where = opened.session.where
    context, shapes = sizes_of(opened.stored[STREAM], where)
    model = OnnxStream(
        StepSession(opened.session, len(shapes)),
        context=context,
        shapes=shapes,
        frontend=build_frontend(opened.config).eval(),
        subsampling_factor=opened.subsampling_factor,
        vocab_size=opened.tokenizer.vocab_size,
        where=where,
    )
    frames = (1 + context.block_frames) * model.subsampling_factor
    silence_BTF = torch.zeros(2, frames, model.frontend.num_mel_bins)
    model.encode(silence_BTF, torch.tensor([frames - model.subsampling_factor, 1]), model.start(2))
    return OnnxStreamPackage(
        config=opened.config, model=model, tokenizer=opened.tokenizer, normalizer=opened.normalizer
    )


def sizes_of(text: str, where: Path | str) -> tuple[ChunkContext, list[list[int]]]:
    """Return the chunk sizes of the export, and the shapes of one stream's stored tensors.

    Raises:
        InputError: they are missing or out of range.
    """
    try:
        stored = json.loads(text)
        context = ChunkContext(*(stored[name] for name in ChunkContext._fields))
        shapes = stored[KEPT]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: {STREAM} cannot be read") from error
    for name, hint in (
        ("chunk_frames", ChunkFrames),
        ("left_frames", ContextFrames),
        ("right_frames", ContextFrames),
    ):
        check_value(getattr(context, name), hint, f"{where}: {STREAM}: {name}")
    check_value(shapes, list[_Sizes], f"{where}: {STREAM}: {KEPT}")
    num_numbers = sum(int(torch.Size(shape).numel()) for shape in shapes[:_MOST_TENSORS])
    if len(shapes) > _MOST_TENSORS or num_numbers > _MOST_NUMBERS:
        raise InputError(f"{where}: {STREAM}: a stream keeps more than {_MOST_NUMBERS:,} numbers")
    return context, shapes
