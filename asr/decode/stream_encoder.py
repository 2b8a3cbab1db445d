"""Streaming encoder: audio that arrives in pieces to head outputs, block by block.

Streams that have enough audio for a block are encoded together. The output equals that of the whole
recording encoded in the same chunks (`asr.nn.chunks`) up to rounding, for any size of the pieces.
Memory does not grow with the length of a stream.

Shape legend: B streams, N samples, T feature frames, F mel bins, X head outputs per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.recogniser import AcousticModel
from asr.encoder.streaming import EncoderState, encode_block, start_streams
from asr.errors import InputError
from asr.features.fbank import LogMel
from asr.features.nemo_mel import NemoMel
from asr.features.normalize import NormState, RunningNorm
from asr.model.asr_model import AsrModel
from asr.nn.chunks import ChunkContext

NOT_A_STREAM = (
    "streaming needs a model trained in chunks, or a file exported with --stream: see "
    "encoder.chunk_frames and recipes/an4_streaming.yaml"
)


@runtime_checkable
class BlockEncoder(Protocol):
    """An encoder of stream blocks with a fixed chunk size: `ModelBlocks` or an exported file."""

    context: ChunkContext
    vocab_size: int

    @property
    def frame_shift_s(self) -> float:
        """Seconds of audio per frame."""

    def start(self, num_streams: int) -> EncoderState:
        """Return the state of new streams."""

    def encode(
        self, features_BTF: Tensor, lengths_B: Tensor, state: EncoderState
    ) -> tuple[Tensor, Tensor, EncoderState]:
        """Encode a block; return head outputs (B, C, X), lengths and state; see `encode_block`."""


class ModelBlocks:
    """A `BlockEncoder` by the encoder and head of a model.

    Raises:
        InputError: the model needs whole utterances.
    """

    def __init__(self, model: AsrModel, context: ChunkContext) -> None:
        check_streams(model)
        self.context = context
        self.model = model
        self.frame_shift_s = model.frame_shift_s
        self.vocab_size = model.head.vocab_size

    def start(self, num_streams: int) -> EncoderState:
        """See `BlockEncoder`."""
        return start_streams(self.model.encoder, self.context, num_streams)

    def encode(
        self, features_BTF: Tensor, lengths_B: Tensor, state: EncoderState
    ) -> tuple[Tensor, Tensor, EncoderState]:
        """See `BlockEncoder`."""
        encoded, state = encode_block(self.model.encoder, features_BTF, lengths_B, state)
        return self.model.head(encoded.frames_BTD), encoded.lengths_B, state


@dataclass(slots=True)
class AudioStream:
    """One stream: unused audio, features of the next block, and the model's state.

    ``samples_N`` begins with the next feature frame. ``features_TF`` begins one encoder frame
    before the next block; ``num_features`` counts all features made so far.
    """

    samples_N: Tensor
    features_TF: Tensor
    encoder: EncoderState
    norm: NormState | None = None
    num_features: int = 0
    has_ended: bool = False

    def push(self, samples_N: Tensor) -> None:
        """Append audio, at the rate of the model."""
        assert not self.has_ended, "audio after the end of a stream"
        self.samples_N = torch.cat([self.samples_N, samples_N])

    def end(self) -> None:
        """Mark the end of the audio."""
        self.has_ended = True

    def saved(self) -> dict[str, object]:
        """Return the stream as tensors and numbers, for `torch.save`."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            **own,
            "samples_N": self.samples_N.clone(),  # torch.save would store the whole base of a view
            "norm": None if self.norm is None else tuple(self.norm),
            "encoder": (tuple(self.encoder.context), self.encoder.num_seen_B, self.encoder.kept),
        }


class StreamEncoder:
    """An encoder of streams by one model with a fixed chunk size.

    Raises:
        InputError: the model's features or attention need whole utterances, or the file was
            exported for whole utterances or other chunks.
    """

    def __init__(self, model: AcousticModel, context: ChunkContext) -> None:
        if isinstance(model, AsrModel):
            self.blocks: BlockEncoder = ModelBlocks(model, context)
        elif isinstance(model, BlockEncoder) and model.context == context:
            self.blocks = model
        else:
            raise InputError(NOT_A_STREAM)
        self.model = model
        self.context = context
        self._fbank: LogMel = model.frontend.fbank
        self._factor = model.subsampling_factor
        self._start = self.blocks.start(1)

    @property
    def latency_s(self) -> float:
        """Longest wait for a frame: its chunk, its look-ahead and the window of the features."""
        fbank = self._fbank
        window_s = (fbank.window_size - fbank.shift_size) / fbank.sample_rate_hz
        return self.context.block_frames * self.blocks.frame_shift_s + window_s

    def open(self) -> AudioStream:
        """Open a new stream."""
        device, norm = self.model.device, self.model.frontend.normalize
        return AudioStream(
            samples_N=torch.zeros(0),
            features_TF=torch.zeros(self._factor, self._fbank.num_mel_bins, device=device),
            encoder=self._start,
            norm=norm.start(1) if isinstance(norm, RunningNorm) else None,
        )

    def restored(self, saved: dict[str, object]) -> AudioStream:
        """Restore a stream from `AudioStream.saved`; it continues bit for bit.

        Raises:
            InputError: it was encoded with other chunks, or by another model.
        """
        given: dict[str, Any] = dict(saved)
        context, num_seen_B, kept = given.pop("encoder")
        is_ours = [one.shape for one in kept] == [one.shape for one in self._start.kept]
        if ChunkContext(*context) != self.context or not is_ours:
            raise InputError(f"the stream has other chunks, {context}, or another model")
        norm = given.pop("norm")
        return AudioStream(
            **given,
            encoder=EncoderState(self.context, num_seen_B, tuple(kept)),
            norm=None if norm is None else NormState(*norm),
        )

    def is_due(self, stream: AudioStream) -> bool:
        """Return whether a block can be encoded."""
        num_waiting = len(stream.features_TF) - self._factor + self._num_new(stream)
        if stream.has_ended:
            return num_waiting > 0
        return num_waiting >= self.context.block_frames * self._factor

    @torch.inference_mode()
    def step(self, streams: Sequence[AudioStream]) -> list[Tensor]:
        """Encode the next block of ``streams``, all due; return the head outputs (n, X) of each."""
        self._take_features(streams)
        size = (1 + self.context.block_frames) * self._factor
        held = [stream.features_TF[:size] for stream in streams]
        lengths_B = torch.tensor([len(one) - self._factor for one in held])
        features_BTF = pad_sequence(held, batch_first=True)
        missing = size - features_BTF.shape[1]
        features_BTF = torch.nn.functional.pad(features_BTF, (0, 0, 0, missing))
        outputs_BCX, lengths_B, state = self.blocks.encode(
            features_BTF,
            lengths_B.to(features_BTF.device),
            EncoderState.stacked([stream.encoder for stream in streams]),
        )
        used = self.context.chunk_frames * self._factor
        for index, stream in enumerate(streams):
            stream.encoder = state if len(streams) == 1 else state[index]
            stream.features_TF = stream.features_TF[min(used, len(stream.features_TF)) :].clone()
        lengths = lengths_B.tolist()
        return [outputs_CX[:n] for outputs_CX, n in zip(outputs_BCX, lengths, strict=True)]

    def _num_new(self, stream: AudioStream) -> int:
        """Return the number of feature frames in the unused audio."""
        num_samples, fbank = len(stream.samples_N), self._fbank
        if num_samples >= fbank.window_size:
            return 1 + (num_samples - fbank.window_size) // fbank.shift_size
        is_short = stream.has_ended and not stream.num_features and num_samples > 0
        return int(is_short)

    def _take_features(self, streams: Sequence[AudioStream]) -> None:
        """Compute the missing feature frames of each stream's next block."""
        block, fbank = (1 + self.context.block_frames) * self._factor, self._fbank
        nums, pieces = [], []
        for stream in streams:
            num = min(self._num_new(stream), block - len(stream.features_TF))
            pieces.append(stream.samples_N[: (num - 1) * fbank.shift_size + fbank.window_size])
            stream.samples_N = stream.samples_N[num * fbank.shift_size :]
            stream.num_features += num
            nums.append(num)
        if not any(nums):
            return
        device = self.model.device
        waveforms_BN = pad_sequence(pieces, batch_first=True).to(device)
        features_BTF, _ = fbank(waveforms_BN, torch.tensor(list(map(len, pieces)), device=device))
        norm = self.model.frontend.normalize
        if isinstance(norm, RunningNorm):
            before = NormState(
                *map(torch.cat, zip(*(s.norm for s in streams if s.norm), strict=True))
            )
            features_BTF, after = norm.step(features_BTF, torch.tensor(nums, device=device), before)
            for index, stream in enumerate(streams):
                stream.norm = NormState(*(one[index : index + 1] for one in after))
        for stream, num, features_TF in zip(streams, nums, features_BTF, strict=True):
            stream.features_TF = torch.cat([stream.features_TF, features_TF[:num]])


def chunk_context(chunk_ms: float, model: AcousticModel) -> ChunkContext:
    """Return the attention context for chunks of ``chunk_ms``; left and right context as trained.

    Raises:
        InputError: the model was not trained in chunks, or the length is not a multiple of a frame.
    """
    if isinstance(model, BlockEncoder):
        own_ms = own_chunk_ms(model)
        if abs(own_ms - chunk_ms) > 0.01:
            raise InputError(f"chunks of {chunk_ms:g} ms: this file was exported for {own_ms:g} ms")
        return model.context
    if not isinstance(model, AsrModel) or model.encoder.chunks is None:
        raise InputError(NOT_A_STREAM)
    frame_ms = 1000 * model.frame_shift_s
    num_frames = round(chunk_ms / frame_ms)
    if num_frames < 1 or abs(num_frames * frame_ms - chunk_ms) > 0.01:
        raise InputError(
            f"chunks of {chunk_ms:g} ms: allowed: multiples of {frame_ms:g} ms, a frame of this "
            f"model's encoder, such as {max(1, num_frames) * frame_ms:g}"
        )
    return model.encoder.chunks.context(num_frames)


def own_chunk_ms(model: BlockEncoder) -> float:
    """Return the only chunk length of an exported file, in milliseconds."""
    return round(1000 * model.context.chunk_frames * model.frame_shift_s, 6)


def check_streams(model: AsrModel) -> None:
    """Raise InputError if a model needs whole utterances."""
    if model.confident_exit is not None:
        raise InputError("exits by entropy need whole recordings; for streams give exit N")
    frontend = model.frontend
    if frontend.normalize is not None and not isinstance(frontend.normalize, RunningNorm):
        raise InputError(
            "this model normalises its features over whole utterances and cannot stream; train it "
            "with features/running_norm (recipes/an4_streaming.yaml)"
        )
    if isinstance(frontend.fbank, NemoMel):
        raise InputError("features=nemo_mel needs whole utterances: this model cannot stream")
    model.encoder.check_chunks()
