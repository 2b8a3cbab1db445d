"""Words while people speak: results of live streams."""

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
from asr.types import Hypothesis, Labels


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The text of a segment, so far or for good (``is_final``); times in seconds of the stream."""

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
        self._told = ""

    def push(self, samples_N: Tensor) -> None:
        """Take more audio: float samples at the rate of the model."""
        self._num_samples += len(samples_N)
        self.audio.push(samples_N)

    def end(self) -> None:
        """No more audio comes."""
        self.audio.end()

    def take(self, outputs_TX: Tensor) -> list[StreamResult]:
        """The results that more output of the head brings: final ones, then the text so far."""
        ended = self.reader.take(outputs_TX)
        self.reader.done.clear()  # told already; a live stream has no end in sight
        results = [self._result(*one, is_final=True) for one in ended]
        results = [one for one in results if one.text]
        if ended:
            self._told = ""
        first, heard = self.reader.segment.first, self.reader.heard()
        partial = self._spelt(first, heard, is_final=False)
        if partial.text != self._told:
            self._told = partial.text
            results.append(partial)
        return results

    def saved(self) -> dict[str, object]:
        """Return the state as tensors and numbers, for `torch.save`; see `Streamer.restored`."""
        segment = self.reader.segment
        return {
            "audio": self.audio.saved(),
            "num_samples": self._num_samples,
            "told": self._told,
            "first": segment.first,
            "outputs": [outputs_TX.clone() for outputs_TX in segment.outputs],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from a saved state; the frames of its open segment are searched again."""
        self._num_samples, self._told = saved["num_samples"], saved["told"]
        self.reader.reopen(saved["first"], saved["outputs"])

    def last(self) -> list[StreamResult]:
        """The results of what is left once all audio of a stream that has ended is read."""
        results = [self._result(*one, is_final=True) for one in self.reader.end()]
        return [one for one in results if one.text]

    def _result(self, first: int, labels: Labels, *, is_final: bool) -> StreamResult:
        return self._spelt(first, self.reader.search.collapse(labels), is_final=is_final)

    def _spelt(self, first: int, found: Hypothesis, *, is_final: bool) -> StreamResult:
        tokenizer, shift_s = self._package.tokenizer, self.reader.frame_shift_s
        sample_rate_hz = self._package.model.frontend.sample_rate_hz
        words = tuple(
            timed_words(
                tokenizer.pieces(found.token_ids),
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


def reader_of(encoder: StreamEncoder, search: Search, endpoint: Endpoint) -> SegmentReader:
    """A reader of what ``encoder`` gives of one stream."""
    blocks = encoder.blocks
    return SegmentReader(
        search, endpoint, frame_shift_s=blocks.frame_shift_s, vocab_size=blocks.vocab_size
    )


class Streamer:
    """Streams of one model, in chunks of one size, encoded together.

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

    def open(self) -> Stream:
        """A stream of which nothing was heard yet."""
        reader = reader_of(self.encoder, self.search, self.endpoint)
        return Stream(self.encoder.open(), reader, self._package)

    def restored(self, saved: Mapping[str, Any]) -> Stream:
        """Return the stream saved by `Stream.saved`; it continues bit for bit.

        Raises:
            InputError: see `StreamEncoder.restored`.
        """
        reader = reader_of(self.encoder, self.search, self.endpoint)
        stream = Stream(self.encoder.restored(saved["audio"]), reader, self._package)
        stream.restore(saved)
        return stream

    def step(self, streams: Sequence[Stream]) -> Iterator[tuple[Stream, list[StreamResult]]]:
        """One block of every stream that has one, encoded together, and what it brought."""
        due = [stream for stream in streams if self.encoder.is_due(stream.audio)]
        if not due:
            return
        outputs = self.encoder.step([stream.audio for stream in due])
        for stream, outputs_TX in zip(due, outputs, strict=True):
            yield stream, stream.take(outputs_TX)

    def results(self, stream: Stream) -> Iterator[StreamResult]:
        """All that the audio pushed so far brings to one stream, or its end."""
        while self.encoder.is_due(stream.audio):
            for _, results in self.step([stream]):
                yield from results
        if stream.audio.has_ended:
            yield from stream.last()


class LiveStream:
    """One live stream: `send` it audio as it comes, `finish` it, and take the results of both.

    Results are the texts so far, ``is_final`` False, and those that stay. Words that a greedy
    search has read stay too, though the last one may grow. A stream belongs to one thread at a
    time.
    """

    def __init__(self, streamer: Streamer) -> None:
        self._streamer = streamer
        self._stream = streamer.open()
        self._resampler: Resampler | None = None

    @property
    def latency_s(self) -> float:
        """How long the model waits for audio before it reads a frame, at most, in seconds."""
        return self._streamer.encoder.latency_s

    def send(self, samples: ArrayLike, sample_rate_hz: int) -> list[StreamResult]:
        """Take the next samples (N,) or (N, C), of any length, and return what they bring.

        Integers are of their full scale, channels are averaged.

        Raises:
            InputError: what are no samples, another rate than before, or a stream that is finished.
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
                f"a stream of {self._resampler.before_hz} Hz goes on with {sample_rate_hz} Hz"
            )
        for waveform in waveforms:
            self._stream.push(torch.from_numpy(self._resampler(waveform.samples)))
        return list(self._streamer.results(self._stream))

    def finish(self) -> list[StreamResult]:
        """The audio is over; the results that were waiting for more of it."""
        if self._stream.audio.has_ended:
            return []
        if self._resampler is not None:
            self._stream.push(torch.from_numpy(self._resampler.finish()))
        self._stream.end()
        return list(self._streamer.results(self._stream))
