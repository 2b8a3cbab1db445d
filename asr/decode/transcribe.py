"""Audio files to transcripts: any format, sample rate and length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from asr.audio.read import probe_audio, stream_audio
from asr.audio.resample import resample_blocks
from asr.audio.source import Source, open_source
from asr.decode.chunking import LabelledAudio
from asr.decode.greedy import GreedyDecoder, TimedWord, timed_words
from asr.decode.labelling import SEARCH, AudioSource, FrameLabeller
from asr.decode.recogniser import Recogniser
from asr.decode.silence import SILENCE_DB
from asr.decode.timing import Profiler
from asr.errors import InputError
from asr.types import Waveform

Channels: TypeAlias = int | Literal["mix", "split"]
"""Which channels to read: the mean of all, one by its number from 1, or each by itself."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a file, or of one ``channel`` of it; None where channels are mixed."""

    audio_path: str
    duration_s: float
    text: str
    words: tuple[TimedWord, ...]
    channel: int | None = None


class Transcriber:
    """Transcribes files with one model.

    Audio longer than ``chunk_s`` is encoded in chunks that share ``overlap_s`` seconds; chunks of
    all files are encoded in batches of up to ``batch_s`` seconds. Chunks without speech, by
    ``silence_db``, have no words; see `FrameLabeller`.

    Damaged files are read as far as they decode and ``notify`` gets a message, or refused where
    ``strict``.
    """

    def __init__(
        self,
        package: Recogniser,
        decoder: GreedyDecoder,
        *,
        chunk_s: float = 30.0,
        overlap_s: float = 4.0,
        batch_s: float | None = None,
        num_threads: int | None = None,
        silence_db: float | None = SILENCE_DB,
        channels: Channels = "mix",
        strict: bool = True,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.package = package
        self.decoder = decoder
        self.channels = channels
        self.strict = strict
        self.notify = notify
        self.profiler = Profiler()
        self.labeller = FrameLabeller(
            package.model,
            decoder,
            chunk_s=chunk_s,
            overlap_s=overlap_s,
            batch_s=batch_s,
            num_threads=num_threads,
            silence_db=silence_db,
            profiler=self.profiler,
        )

    def transcribe(self, path: str | Path) -> Transcript:
        """Transcribe one file with its channels mixed.

        Raises:
            InputError: the file cannot be read as audio.
        """
        (found,) = self.each([Path(path)])
        if isinstance(found, InputError):
            raise found
        (transcript,) = found
        return transcript

    def each(self, paths: Iterable[Path]) -> Iterator[tuple[Transcript, ...] | InputError]:
        """Yield the transcripts of each file in order, or the error if it cannot be read.

        A file has one transcript, or one per channel where channels are split.
        """
        tracks: deque[_Track] = deque()
        with ExitStack() as sources:
            recordings = self._recordings(paths, tracks, sources)
            labelled = sources.enter_context(closing(self.labeller(recordings)))
            for first in labelled:
                results = [(tracks.popleft(), first)]
                while not results[-1][0].is_last:
                    results.append((tracks.popleft(), next(labelled)))
                with self.profiler.part(SEARCH):
                    found = self._of_file(results)
                yield found

    def _recordings(
        self, paths: Iterable[Path], tracks: deque[_Track], sources: ExitStack
    ) -> Iterator[AudioSource]:
        """Yield the audio to read of each file; ``tracks`` gets an entry for each."""
        for path in paths:
            readable: Path | Source = path
            numbers: Sequence[int | None] = [None]
            if self.channels == "split":
                try:
                    if not path.is_file():  # a pipe can be read once only
                        readable = sources.enter_context(open_source(path))
                    numbers = range(1, probe_audio(readable, strict=False).num_channels + 1)
                except InputError:  # reading it raises the error again
                    pass
            elif self.channels != "mix":
                numbers = [self.channels]
            notify = _once(self.notify)
            for number in numbers:
                tracks.append(_Track(path, number, is_last=number == numbers[-1]))
                yield partial(self._waveforms, readable, number, notify)

    def _waveforms(
        self, source: Path | Source, channel: int | None, notify: Callable[[str], None]
    ) -> Iterator[Waveform]:
        blocks = stream_audio(source, channel=channel, strict=self.strict, notify=notify)
        return resample_blocks(blocks, self.labeller.sample_rate_hz)

    def read(
        self, names: Sequence[Path | str], recordings: Iterable[AudioSource]
    ) -> Iterator[Transcript | InputError]:
        """Yield the transcripts of ``recordings`` in order; ``names`` become their paths."""
        with closing(self.labeller(recordings)) as labelled:
            for name, audio in zip(names, labelled, strict=True):
                with self.profiler.part(SEARCH):
                    found = audio if isinstance(audio, InputError) else self._words(name, audio)
                yield found

    def _of_file(
        self, results: Sequence[tuple[_Track, LabelledAudio | InputError]]
    ) -> tuple[Transcript, ...] | InputError:
        transcripts = []
        for track, audio in results:
            if isinstance(audio, InputError):
                return audio
            transcripts.append(self._words(track.path, audio, track.channel))
        return tuple(transcripts)

    def _words(
        self, name: Path | str, audio: LabelledAudio, channel: int | None = None
    ) -> Transcript:
        hypothesis = self.decoder.collapse(audio.labels)
        tokenizer = self.package.tokenizer
        return Transcript(
            audio_path=str(name),
            duration_s=round(audio.duration_s, 3),
            text=" ".join(tokenizer.decode(hypothesis.token_ids).split()),
            words=tuple(
                timed_words(
                    tokenizer.pieces(hypothesis.token_ids),
                    hypothesis.token_frames,
                    hypothesis.token_ends,
                    self.labeller.chunking.frame_shift_s,
                    audio.duration_s,
                )
            ),
            channel=channel,
        )


class _Track(NamedTuple):
    """A channel of a file; None for the mean of all."""

    path: Path
    channel: int | None
    is_last: bool


def _once(notify: Callable[[str], None]) -> Callable[[str], None]:
    """Pass a message on once, however many channels of the file are read."""
    seen: set[str] = set()

    def notify_once(message: str) -> None:
        if message not in seen:
            seen.add(message)
            notify(message)

    return notify_once
