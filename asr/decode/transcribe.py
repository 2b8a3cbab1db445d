"""Transcription of audio of any format, sample rate and length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast, overload

from asr.audio.memory import ArrayLike, AudioInput, Samples, as_audio, num_channels
from asr.audio.open import open_audio
from asr.audio.read import stream_audio
from asr.audio.resample import resample_blocks
from asr.audio.source import ByteSource
from asr.decode.assembly import LabelledAudio
from asr.decode.early_words import EarlyWords, FinalWords
from asr.decode.endpoint import Endpoint
from asr.decode.greedy import Alternatives, TimedWord, join_words, timed_words
from asr.decode.labelling import SEARCH, AudioSource, FrameLabeller
from asr.decode.progress import Meter, Progress
from asr.decode.recogniser import Recogniser
from asr.decode.search import Search, temperature_of
from asr.decode.silence import SILENCE_DB
from asr.decode.stream_encoder import chunk_context
from asr.decode.stream_labeller import StreamLabeller
from asr.decode.streaming import LiveStream, Streamer
from asr.decode.timing import Profiler
from asr.decode.transcript import NBest, ScoredText, Transcript
from asr.decode.vad import speech_detector
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.types import Labels, Waveform

Channels: TypeAlias = int | Literal["mix", "split"]
"""Channels to read: the mean of all, one by its number from 1, or each separately."""


class Transcriber:
    """A transcriber of recordings with one model.

    Audio longer than ``chunk_s`` is cut at pauses, found by a detector of `VADS`. If it has none,
    or with ``vad="none"``, it is cut into chunks that overlap by ``overlap_s`` seconds. Chunks of
    all recordings are encoded in batches of up to ``batch_s`` seconds. Silent chunks, by
    ``silence_db``, have no words; see `FrameLabeller`. With ``stream``, recordings of any length
    are decoded as live streams instead, in chunks of that size.

    Damaged files are refused with ``strict``; otherwise they are read as far as they decode and
    ``notify`` gets a message. Several threads may call one transcriber at once.
    """

    def __init__(
        self,
        package: Recogniser,
        decoder: Search,
        *,
        chunk_s: float = 30.0,
        overlap_s: float = 4.0,
        batch_s: float | None = None,
        num_threads: int | None = None,
        silence_db: float | None = SILENCE_DB,
        vad: str = "energy",
        stream: ChunkContext | None = None,
        channels: Channels = "mix",
        strict: bool = True,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.package = package
        self.decoder = decoder
        self.temperature = temperature_of(package.config, decoder)
        self.channels = channels
        self.strict = strict
        self.notify = notify
        self.profiler = Profiler()
        self.labeller: FrameLabeller | StreamLabeller
        if stream is not None:
            self.labeller = StreamLabeller(package, decoder, stream, profiler=self.profiler)
            return
        self.labeller = FrameLabeller(
            package.model,
            decoder,
            chunk_s=chunk_s,
            overlap_s=overlap_s,
            batch_s=batch_s,
            num_threads=num_threads,
            silence_db=silence_db,
            vad=speech_detector(vad, package.model.frontend.sample_rate_hz),
            profiler=self.profiler,
        )

    @overload
    def transcribe(
        self,
        audio: AudioInput,
        sample_rate_hz: None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Transcript: ...

    @overload
    def transcribe(
        self,
        audio: list[Any],
        sample_rate_hz: None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[Transcript]: ...

    @overload
    def transcribe(
        self,
        audio: ArrayLike,
        sample_rate_hz: int,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Transcript: ...

    def transcribe(
        self,
        audio: Any,
        sample_rate_hz: int | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Transcript | list[Transcript]:
        """Transcribe one recording, or a list of them in common batches.

        Args:
            audio: a path, the bytes of a file, a file open in binary mode, samples (N,), (N, C) or
                (C, N) with ``sample_rate_hz``, a `Waveform`, or a list of these. In a list, samples
                are given as ``(samples, sample_rate_hz)``.
            sample_rate_hz: rate of samples.
            progress: gets a `Progress` after every batch and every recording.

        Raises:
            InputError: audio cannot be read (in a list, raised after the others are done; `each`
                returns their transcripts), or channels are split (use `each`).
        """
        if self.channels == "split":
            raise InputError("channels split: each(...) gives a transcript of every channel")
        is_list = isinstance(audio, list)
        one = audio if sample_rate_hz is None else (audio, sample_rate_hz)
        inputs = list(audio) if is_list else [one]
        found = list(self.each(inputs, progress=progress))
        transcripts: list[Transcript] = []
        for result in found:
            if isinstance(result, InputError):
                raise result
            transcripts += result
        return transcripts if is_list else transcripts[0]

    def each(
        self,
        recordings: Iterable[AudioInput],
        *,
        progress: Callable[[Progress], None] | None = None,
        heard: Callable[[FinalWords], None] | None = None,
        is_wanted: Callable[[int], bool] = lambda recording: True,
    ) -> Iterator[tuple[Transcript, ...] | InputError]:
        """Yield the transcripts of each recording in order, or the error if it cannot be read.

        A recording has one transcript, or one per channel if channels are split. Recordings are
        read as they are needed; ``progress`` has totals only for a list.

        ``heard`` gets the words of unfinished recordings as soon as they are final, all but the
        last ones; it gets none if recordings are decoded as streams. ``is_wanted`` is called with a
        recording's number before each of its blocks; False ends the recording with an error.
        """
        tracks: deque[_Track] = deque()
        meter = Meter(progress, recordings, split=self.channels == "split")
        early = EarlyWords(self.decoder, self.package.tokenizer, self.labeller.frame_shift_s)
        num_done = 0

        def settled(index: int, labels: Labels) -> None:
            assert heard is not None
            if words := early.take(index, labels):
                track = tracks[index - num_done]
                heard(FinalWords(track.recording, track.channel, words))

        with ExitStack() as sources:
            opened = self._recordings(recordings, tracks, sources, is_wanted)
            labels = self.labeller(opened, report=meter.add, settled=settled if heard else None)
            labelled = sources.enter_context(closing(labels))
            for first in labelled:
                results = [(tracks.popleft(), first)]
                while not results[-1][0].is_last:
                    results.append((tracks.popleft(), next(labelled)))
                for _ in results:
                    early.drop(num_done)
                    num_done += 1
                with self.profiler.part(SEARCH):
                    found = self._of_file(results)
                meter.end_recording()
                yield found

    def _recordings(
        self,
        recordings: Iterable[AudioInput],
        tracks: deque[_Track],
        sources: ExitStack,
        is_wanted: Callable[[int], bool],
    ) -> Iterator[AudioSource]:
        """Yield the audio to read of each recording; ``tracks`` gets an entry for each."""
        for recording, audio in enumerate(recordings):
            readable: Path | ByteSource | Samples | InputError
            name = str(audio) if isinstance(audio, str | Path) else "audio"
            try:
                readable = as_audio(audio)
                name = str(readable) if isinstance(readable, Path) else readable.name
            except InputError as error:
                readable = error
            numbers: Sequence[int | None] = [None]
            if self.channels == "split" and not isinstance(readable, InputError):
                try:
                    if isinstance(readable, Path) and not readable.is_file():
                        readable = sources.enter_context(open_audio(readable))  # read twice
                    numbers = range(1, num_channels(readable) + 1)
                except InputError:  # reading it raises the error again
                    pass
            elif self.channels not in ("mix", "split"):
                numbers = [int(self.channels)]
            notify = _once(self.notify)
            for number in numbers:
                tracks.append(_Track(recording, name, number, is_last=number == numbers[-1]))
                goes_on = partial(is_wanted, recording)
                yield partial(self._waveforms, readable, number, notify, goes_on)

    def _waveforms(
        self,
        source: Path | ByteSource | Samples | InputError,
        channel: int | None,
        notify: Callable[[str], None],
        goes_on: Callable[[], bool],
    ) -> Iterator[Waveform]:
        if isinstance(source, InputError):
            raise source
        if isinstance(source, Samples):
            blocks = source.blocks(channel)
        else:
            blocks = stream_audio(source, channel=channel, strict=self.strict, notify=notify)
        for waveform in resample_blocks(blocks, self.labeller.sample_rate_hz):
            if not goes_on():
                raise InputError("the recording is not wanted any more")
            yield waveform

    def stream(self, chunk_ms: float, *, endpoint: Endpoint | None = None) -> LiveStream:
        """Open a live stream: send audio block by block, get its words.

        Args:
            chunk_ms: audio encoded at once, a multiple of the model's frames.
            endpoint: rules for the end of a segment; None for the defaults of `Endpoint`.

        Raises:
            InputError: the model was not trained in chunks, or ``chunk_ms`` is not a multiple of
                its frames.
        """
        context = chunk_context(chunk_ms, self.package.model)
        return LiveStream(Streamer(self.package, self.decoder, context, endpoint=endpoint))

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
            transcripts.append(self._words(track.name, audio, track.channel))
        return tuple(transcripts)

    def _words(
        self, name: Path | str, audio: LabelledAudio, channel: int | None = None
    ) -> Transcript:
        tokenizer = self.package.tokenizer
        texts: list[str] = []
        words: list[TimedWord] = []
        for first, end in pairwise((0, *audio.borders, len(audio.labels))):
            hypothesis = self.decoder.collapse(cast(Any, audio.labels)[first:end])
            texts.append(" ".join(tokenizer.decode(hypothesis.token_ids).split()))
            words += timed_words(
                tokenizer.surfaces(hypothesis.token_ids),
                [first + frame for frame in hypothesis.token_frames],
                [first + frame for frame in hypothesis.token_ends],
                self.labeller.frame_shift_s,
                audio.duration_s,
                hypothesis.token_scores,
                self.temperature,
            )
        return Transcript(
            audio_path=str(name),
            duration_s=round(audio.duration_s, 3),
            text=join_words([text for text in texts if text]),
            words=tuple(words),
            channel=channel,
            n_best=tuple(
                self._n_best(those, audio.duration_s)
                for those in getattr(audio.labels, "alternatives", ())
            ),
        )

    def _n_best(self, those: Alternatives, duration_s: float) -> NBest:
        shift_s = self.labeller.frame_shift_s
        return NBest(
            start_s=round(those.first * shift_s, 3),
            end_s=round(min(those.end * shift_s, duration_s), 3),
            texts=tuple(
                ScoredText(
                    " ".join(self.package.tokenizer.decode(one.token_ids).split()),
                    round(one.score, 4),
                    round(one.acoustic, 4),
                )
                for one in those.sequences
            ),
        )


class _Track(NamedTuple):
    """A channel of a recording; None for the mean of all."""

    recording: int
    name: str
    channel: int | None
    is_last: bool


def _once(notify: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap ``notify`` to send a message once, although every channel of the file repeats it."""
    seen: set[str] = set()

    def notify_once(message: str) -> None:
        if message not in seen:
            seen.add(message)
            notify(message)

    return notify_once
