"""Streaming recognition: partial and final results of live streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.audio.memory import ArrayLike, array_audio
from asr.audio.resample import Resampler
from asr.decode.endpoint import Endpoint, SegmentReader
from asr.decode.greedy import TimedWord, timed_words
from asr.decode.recogniser import Recogniser
from asr.decode.search import Search, temperature_of
from asr.decode.stream_encoder import AudioStream, StreamEncoder
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.text.tokenizer import Tokenizer
from asr.types import Hypothesis, Labels


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The text of a segment, partial or final (``is_final``); times in seconds of the stream."""

    text: str
    start_s: float
    end_s: float
    words: tuple[TimedWord, ...]
    is_final: bool


class Stream:
    """A live stream of one model; `Streamer.open` makes it."""

    def __init__(self, audio: AudioStream, reader: SegmentReader, package: Recogniser) -> None:
        self.audio = audio
        self.reader = reader
        self._package = package
        self._temperature = temperature_of(package.config, reader.search)
        self._num_samples = 0
        self._last_partial = ""

    def push(self, samples_N: Tensor) -> None:
        """Append audio: float samples at the rate of the model."""
        self._num_samples += len(samples_N)
        self.audio.push(samples_N)

    def end(self) -> None:
        """Mark the end of the audio."""
        self.audio.end()

    def take(self, outputs_TX: Tensor) -> list[StreamResult]:
        """Read more head outputs; return new final results, then the partial one if it changed."""
        ended = self.reader.take(outputs_TX)
        self.reader.done.clear()  # returned below; keeps the memory of a live stream constant
        results = [self._result(*one, is_final=True) for one in ended]
        results = [one for one in results if one.text]
        if ended:
            self._last_partial = ""
        first, best = self.reader.segment.first, self.reader.partial()
        partial = self._spelt(first, best, is_final=False)
        if partial.text != self._last_partial:
            self._last_partial = partial.text
            results.append(partial)
        return results

    def saved(self) -> dict[str, object]:
        """Return the state as tensors and numbers, for `torch.save`; see `Streamer.restored`."""
        segment = self.reader.segment
        return {
            "audio": self.audio.saved(),
            "num_samples": self._num_samples,
            "last_partial": self._last_partial,
            "first": segment.first,
            "outputs": [outputs_TX.clone() for outputs_TX in segment.outputs],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from a saved state; the frames of its open segment are searched again."""
        self._num_samples, self._last_partial = saved["num_samples"], saved["last_partial"]
        self.reader.reopen(saved["first"], saved["outputs"])

    def last(self) -> list[StreamResult]:
        """Return the remaining results after all audio of an ended stream was read."""
        results = [self._result(*one, is_final=True) for one in self.reader.end()]
        return [one for one in results if one.text]

    def _result(self, first: int, labels: Labels, *, is_final: bool) -> StreamResult:
        return self._spelt(first, self.reader.search.collapse(labels), is_final=is_final)

    def _spelt(self, first: int, found: Hypothesis, *, is_final: bool) -> StreamResult:
        tokenizer, shift_s = self._package.tokenizer, self.reader.frame_shift_s
        sample_rate_hz = self._package.model.frontend.sample_rate_hz
        words = tuple(
            timed_words(
                tokenizer.surfaces(found.token_ids),
                [first + frame for frame in found.token_frames],
                [first + end for end in found.token_ends],
                shift_s,
                self._num_samples / sample_rate_hz,
                found.token_scores,
                self._temperature,
            )
        )
        start_s = round(first * shift_s, 3)
        return StreamResult(
            text=" ".join(tokenizer.decode(found.token_ids).split()),
            start_s=words[0].start_s if words else start_s,
            end_s=words[-1].end_s if words else start_s,
            words=words,
            is_final=is_final,
        )


def reader_of(
    encoder: StreamEncoder, search: Search, endpoint: Endpoint, tokenizer: Tokenizer
) -> SegmentReader:
    """Make a reader of one stream's outputs from ``encoder``."""
    blocks = encoder.blocks
    return SegmentReader(
        search,
        endpoint,
        frame_shift_s=blocks.frame_shift_s,
        vocab_size=blocks.vocab_size,
        word_starts=tokenizer.word_starts,
    )


class Streamer:
    """A recogniser of live streams by one model and chunk size, which encodes them together.

    Raises:
        InputError: the model cannot stream, see `StreamEncoder`.
    """

    def __init__(
        self,
        package: Recogniser,
        search: Search,
        context: ChunkContext,
        *,
        endpoint: Endpoint | None = None,
    ) -> None:
        self.encoder = StreamEncoder(package.model, context)
        self.search = search
        self.endpoint = endpoint or Endpoint()
        self._package = package

    def _reader(self) -> SegmentReader:
        return reader_of(self.encoder, self.search, self.endpoint, self._package.tokenizer)

    def open(self) -> Stream:
        """Open a new stream."""
        reader = self._reader()
        return Stream(self.encoder.open(), reader, self._package)

    def restored(self, saved: Mapping[str, Any]) -> Stream:
        """Return the stream saved by `Stream.saved`; it continues bit for bit.

        Raises:
            InputError: see `StreamEncoder.restored`.
        """
        reader = self._reader()
        stream = Stream(self.encoder.restored(saved["audio"]), reader, self._package)
        stream.restore(saved)
        return stream

    def step(self, streams: Sequence[Stream]) -> Iterator[tuple[Stream, list[StreamResult]]]:
        """Encode a block of every stream that has one; yield each stream's results."""
        due = [stream for stream in streams if self.encoder.is_due(stream.audio)]
        if not due:
            return
        outputs = self.encoder.step([stream.audio for stream in due])
        for stream, outputs_TX in zip(due, outputs, strict=True):
            yield stream, stream.take(outputs_TX)

    def results(self, stream: Stream) -> Iterator[StreamResult]:
        """Yield all results from one stream's audio so far, and from its end."""
        while self.encoder.is_due(stream.audio):
            for _, results in self.step([stream]):
                yield from results
        if stream.audio.has_ended:
            yield from stream.last()


class LiveStream:
    """One live stream: `send` audio as it arrives, then `finish`; both return results.

    Results are partial texts (``is_final`` False) and final ones. With a greedy search a partial
    text only grows. Only one thread may use a stream at a time.
    """

    def __init__(self, streamer: Streamer) -> None:
        self._streamer = streamer
        self._stream = streamer.open()
        self._resampler: Resampler | None = None

    @property
    def latency_s(self) -> float:
        """Longest wait for audio before a frame is decoded, in seconds."""
        return self._streamer.encoder.latency_s

    def send(self, samples: ArrayLike, sample_rate_hz: int) -> list[StreamResult]:
        """Append samples (N,) or (N, C), of any length, and return the new results.

        Integers are scaled by their full range, channels are averaged.

        Raises:
            InputError: the samples are invalid, the rate changed, or the stream is finished.
        """
        if self._stream.audio.has_ended:
            raise InputError("this stream is finished; open another one")
        if not np.size(samples):
            return []
        waveforms = array_audio(samples, sample_rate_hz, name="stream").blocks()
        if self._resampler is None:
            rate_hz = self._streamer.encoder.model.frontend.sample_rate_hz
            self._resampler = Resampler(sample_rate_hz, rate_hz)
        if self._resampler.before_hz != sample_rate_hz:
            raise InputError(
                f"the stream began with {self._resampler.before_hz} Hz, not {sample_rate_hz} Hz"
            )
        for waveform in waveforms:
            self._stream.push(torch.from_numpy(self._resampler(waveform.samples)))
        return list(self._streamer.results(self._stream))

    def finish(self) -> list[StreamResult]:
        """End the audio; return the remaining results."""
        if self._stream.audio.has_ended:
            return []
        if self._resampler is not None:
            self._stream.push(torch.from_numpy(self._resampler.finish()))
        self._stream.end()
        return list(self._streamer.results(self._stream))
