"""Audio files to transcripts: any format, sample rate and length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asr.audio.read import stream_audio
from asr.audio.resample import resample_blocks
from asr.decode.assembly import LabelledAudio
from asr.decode.greedy import GreedyDecoder
from asr.decode.labelling import SEARCH, FrameLabeller, Recording
from asr.decode.silence import SILENCE_DB
from asr.decode.stopwatch import Stopwatch
from asr.decode.words import TimedWord, timed_words
from asr.model.recogniser import Recogniser
from asr.types import InputError, Waveform


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was read from one file."""

    audio_path: str
    duration_s: float
    text: str
    words: tuple[TimedWord, ...]


class Transcriber:
    """Reads files with one model.

    Audio longer than ``chunk_s`` is encoded in chunks that share ``overlap_s`` seconds; chunks of
    all files are encoded in batches of up to ``batch_s`` seconds. Chunks without speech, by
    ``silence_db``, have no words. `FrameLabeller` says more.
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
    ) -> None:
        self.package = package
        self.decoder = decoder
        self.stopwatch = Stopwatch()
        self.labeller = FrameLabeller(
            package.model,
            decoder,
            chunk_s=chunk_s,
            overlap_s=overlap_s,
            batch_s=batch_s,
            num_threads=num_threads,
            silence_db=silence_db,
            stopwatch=self.stopwatch,
        )

    def __call__(self, path: Path) -> Transcript:
        """Transcribe one file.

        Raises:
            InputError: the file cannot be read as audio.
        """
        (transcript,) = self.each([path])
        if isinstance(transcript, InputError):
            raise transcript
        return transcript

    def each(self, paths: Iterable[Path]) -> Iterator[Transcript | InputError]:
        """The transcripts of files in their order, or why a file cannot be read as audio."""
        paths = list(paths)
        return self.read(paths, [partial(self._waveforms, path) for path in paths])

    def read(
        self, names: Sequence[Path | str], recordings: Iterable[Recording]
    ) -> Iterator[Transcript | InputError]:
        """The transcripts of ``recordings``, which come under ``names``, in their order."""
        with closing(self.labeller(recordings)) as labelled:
            for name, audio in zip(names, labelled, strict=True):
                with self.stopwatch.part(SEARCH):
                    found = audio if isinstance(audio, InputError) else self._words(name, audio)
                yield found

    def _waveforms(self, path: Path) -> Iterator[Waveform]:
        return resample_blocks(stream_audio(path), self.labeller.sample_rate_hz)

    def _words(self, name: Path | str, audio: LabelledAudio) -> Transcript:
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
                    self.labeller.chunking.frame_shift_s,
                    audio.duration_s,
                )
            ),
        )
