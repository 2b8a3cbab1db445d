"""Decoding recordings as live streams, several at once, for their final results only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import torch
from torch import Tensor

from asr.decode.assembly import LabelledAudio
from asr.decode.endpoint import Endpoint, SegmentReader
from asr.decode.labelling import (
    DECODE,
    ENCODER,
    FEATURES,
    SEARCH,
    AudioSource,
    ReportAudio,
    Settled,
)
from asr.decode.recogniser import Recogniser
from asr.decode.search import Search
from asr.decode.stream_encoder import AudioStream, StreamEncoder
from asr.decode.streaming import reader_of
from asr.decode.timing import Profiler
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.types import Labels

MAX_STREAMS = 32
"""Recordings encoded together."""


class StreamLabeller:
    """A replacement of `FrameLabeller` that decodes recordings as streams.

    Several recordings are encoded together, each as fast as it can be read.
    """

    def __init__(
        self,
        package: Recogniser,
        search: Search,
        context: ChunkContext,
        *,
        endpoint: Endpoint | None = None,
        profiler: Profiler | None = None,
    ) -> None:
        self.encoder = StreamEncoder(package.model, context)
        self.tokenizer = package.tokenizer
        self.search = search
        self.endpoint = endpoint or Endpoint()
        self.profiler = profiler or Profiler()
        self.sample_rate_hz = package.model.frontend.sample_rate_hz
        self.frame_shift_s = self.encoder.blocks.frame_shift_s

    def __call__(
        self,
        recordings: Iterable[AudioSource],
        *,
        report: ReportAudio = lambda seconds: None,
        settled: Settled | None = None,
    ) -> Generator[LabelledAudio | InputError, None, None]:
        """See `FrameLabeller.__call__`; ``settled`` is not called."""
        with self.profiler.profile_module(self.encoder.model.frontend.fbank, FEATURES):
            yield from self._labelled(recordings, report)

    def _labelled(
        self, recordings: Iterable[AudioSource], report: ReportAudio
    ) -> Iterator[LabelledAudio | InputError]:
        waiting = iter(recordings)
        going: list[_Recording] = []
        while True:
            missing = MAX_STREAMS - sum(one.found is None for one in going)
            going += [self._opened(source, report) for source in islice(waiting, missing)]
            if not going:
                return
            reading = [one for one in going if one.found is None]
            for one in reading:
                one.read_until(self.encoder.is_due)
            due = [one for one in reading if self.encoder.is_due(one.audio)]
            if due:
                with self.profiler.part(ENCODER, self.encoder.model.device):
                    outputs = self.encoder.step([one.audio for one in due])
                with self.profiler.part(SEARCH):
                    for one, outputs_TX in zip(due, outputs, strict=True):
                        one.reader.take(outputs_TX)
            for one in reading:
                if one.audio.has_ended and not self.encoder.is_due(one.audio):
                    with self.profiler.part(SEARCH):
                        one.finish()
            while going and going[0].found is not None:
                yield going.pop(0).found  # type: ignore[misc]

    def _opened(self, source: AudioSource, report: ReportAudio) -> _Recording:
        def blocks() -> Iterator[Tensor]:
            for waveform in self.profiler.each(source(), DECODE):
                report(waveform.duration_s)
                yield torch.from_numpy(waveform.samples)

        reader = reader_of(self.encoder, self.search, self.endpoint, self.tokenizer)
        return _Recording(self.encoder.open(), reader, blocks(), self.sample_rate_hz)


@dataclass(slots=True)
class _Recording:
    """A recording that `StreamLabeller` is decoding; ``found`` is its result."""

    audio: AudioStream
    reader: SegmentReader
    blocks: Iterator[Tensor]
    sample_rate_hz: int
    num_samples: int = 0
    found: LabelledAudio | InputError | None = None

    def read_until(self, is_due: Callable[[AudioStream], bool]) -> None:
        """Read audio until a block is due, or until it ends or fails."""
        while not self.audio.has_ended and not is_due(self.audio):
            try:
                samples_N = next(self.blocks)
            except StopIteration:
                self.audio.end()
            except InputError as error:
                self.found = error
                return
            else:
                self.num_samples += len(samples_N)
                self.audio.push(samples_N)

    def finish(self) -> None:
        """Join the labels of all segments."""
        self.reader.end()
        parts: list[Any] = self.reader.done or [self.reader.search.blanks(1)]
        labels: Labels = parts[0].joined(parts[1:])
        borders = tuple(accumulate(map(len, parts[:-1])))
        self.found = LabelledAudio(labels, self.num_samples / self.sample_rate_hz, borders)
