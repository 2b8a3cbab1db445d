"""Frame labelling: from recordings of any number and length to the best token of every frame.

Threads read the audio and split it into chunks. Chunks of all recordings are batched by length, and
batches are encoded in parallel. The labels of a recording are stitched as soon as its last chunk is
done. Memory grows by only a few bytes per frame of a recording.

Shape legend: B batch, N samples, T frames, X head outputs per frame.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from asr.decode.assembly import Assembly, LabelledAudio
from asr.decode.chunking import Chunk, Chunking
from asr.decode.prefetch import ThreadPool, batches_by_length, map_threads, prefetch
from asr.decode.recogniser import AcousticModel
from asr.decode.search import Search
from asr.decode.silence import SILENCE_DB, is_silent
from asr.decode.timing import PARTS, Profiler
from asr.decode.vad import SpeechDetector
from asr.errors import InputError, RunError, is_out_of_memory
from asr.types import Labels, Waveform

ReportAudio = Callable[[float], None]
"""Gets the seconds of audio labelled since the last call."""
Settled = Callable[[int, Labels], None]
"""Gets the number of a recording and its next final labels."""
AudioSource = Callable[[], Iterator[Waveform]]
"""Opens a recording and yields its waveform block by block, at the model's sample rate."""

DECODE, VAD, FEATURES, ENCODER, SEARCH = PARTS

BATCH_S = {"cpu": 30.0, "cuda": 480.0}
"""Seconds of audio per batch, by kind of device; a larger batch is no faster on a CPU."""
SEARCHED_TOGETHER_S = 480.0
"""Seconds of audio per batch for a search that advances all utterances of a batch together."""
_STEP_OF_LONGER_S = {8.0: 1.0, 4.0: 0.5, 2.0: 0.25}
"""Batches of at least so many seconds are padded to a multiple of a step.

Libraries keep what a shape needs for the next batch of that shape, so memory grows with the number
of shapes: by 500 MiB in an hour if they are all different.
"""
_BATCHES_AHEAD = 3  # read ahead to sort by length, beside those being encoded


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk of recording ``index``."""

    index: int
    chunk: Chunk


class FrameLabeller:
    """A labeller of recordings' frames by one model.

    Args:
        model: the acoustic model, in inference mode.
        decoder: search that labels the frames.
        chunk_s, overlap_s: see `Chunking`.
        batch_s: seconds of audio per batch, with padding; None for `BATCH_S`.
        num_threads: CPU threads; None for the number that torch uses.
        silence_db: threshold of `is_silent`; a silent chunk is not encoded and has no tokens.
        vad: finds the pauses at which audio longer than a chunk is cut; None: chunks overlap.
        profiler: measures the time of the `PARTS`.

    Raises:
        InputError: see `Chunking`.
    """

    def __init__(
        self,
        model: AcousticModel,
        decoder: Search,
        *,
        chunk_s: float,
        overlap_s: float,
        batch_s: float | None = None,
        num_threads: int | None = None,
        silence_db: float | None = SILENCE_DB,
        vad: SpeechDetector | None = None,
        profiler: Profiler | None = None,
    ) -> None:
        fbank = model.frontend.fbank
        self.profiler = profiler or Profiler()
        self.model = model
        self.decoder = decoder
        self.sample_rate_hz = fbank.sample_rate_hz
        self.chunking = Chunking(
            chunk_s=chunk_s,
            overlap_s=overlap_s,
            window_samples=fbank.window_size,
            shift_samples=fbank.shift_size,
            subsampling_factor=model.subsampling_factor,
            sample_rate_hz=fbank.sample_rate_hz,
            vad=None if vad is None else self._profiled(vad),
        )
        self.frame_shift_s = self.chunking.frame_shift_s
        usual_s = BATCH_S.get(model.device.type, BATCH_S["cpu"])
        if getattr(decoder, "moves_together", False):
            usual_s = max(usual_s, SEARCHED_TOGETHER_S)
        self.batch_s = batch_s or usual_s
        self.silence_db = silence_db
        self.num_threads = num_threads or torch.get_num_threads()
        self._pools: dict[int, ThreadPool] = {}  # by their size, which sets torch's threads in them
        self._one_at_a_time = nullcontext() if model.runs_in_threads else Lock()

    def __call__(
        self,
        recordings: Iterable[AudioSource],
        *,
        report: ReportAudio = lambda seconds: None,
        settled: Settled | None = None,
    ) -> Generator[LabelledAudio | InputError, None, None]:
        """Yield the labels of each recording, in order, or the error if it is unreadable.

        Results depend on the other items of a batch only by rounding. ``report`` gets the seconds
        of audio of every finished batch. ``settled`` gets final labels of unfinished recordings; if
        it is given, batches with the start of recordings run first. Several threads may call this
        at once.

        Raises:
            RunError: a batch does not fit in the memory of the device.
        """
        assembly = Assembly(self.decoder.blanks)
        num_at_once = self.num_threads if self.model.runs_in_threads else 1
        batch_samples = self.batch_s * self.sample_rate_hz
        batches = batches_by_length(
            self._pieces(recordings, assembly),
            lambda piece: self.chunking.num_own_samples(piece.chunk),
            max_length=round(batch_samples),
            max_waiting=round(batch_samples * (num_at_once + _BATCHES_AHEAD)),
            first_come=settled is not None,
        )
        with closing(batches):
            first = list(islice(batches, num_at_once))
            num_at_once = max(1, len(first))
            pool = self._pools.setdefault(num_at_once, ThreadPool(num_at_once, "encode"))
            with (
                _torch_threads(self.num_threads // num_at_once),
                self.profiler.profile_module(self.model.frontend, FEATURES),
            ):
                labelled = map_threads(self._label, chain(first, batches), pool)
                for batch, labels in labelled:
                    with self.profiler.part(SEARCH):
                        for piece, of_piece in zip(batch, labels, strict=True):
                            assembly.add(piece.index, piece.chunk.start, of_piece)
                        if settled is not None:
                            for index, of_stretch in assembly.settled():
                                settled(index, of_stretch)
                        finished = list(assembly.finished())
                    report(sum(map(self._own_s, batch)))
                    yield from finished
        yield from assembly.finished()

    def _rounding(self, batch: Sequence[_Piece]) -> int:
        """Return the number of samples to add to the longest piece of a batch."""
        own = max(self.chunking.num_own_samples(piece.chunk) for piece in batch)
        for length_s, step_s in _STEP_OF_LONGER_S.items():
            if own >= length_s * self.sample_rate_hz:
                return -own % round(step_s * self.sample_rate_hz)
        return 0

    def _profiled(self, vad: SpeechDetector) -> SpeechDetector:
        return lambda windows, frame_samples: self.profiler.each(vad(windows, frame_samples), VAD)

    def _pieces(self, recordings: Iterable[AudioSource], assembly: Assembly) -> Iterator[_Piece]:
        """Yield the chunks that may hold speech; silent ones go to ``assembly`` directly."""
        sources = (partial(self._chunks, recording) for recording in recordings)
        for index, item in prefetch(sources, num_threads=self.num_threads):
            if not isinstance(item, Chunk):
                assembly.end(index, item)
                continue
            assembly.expect_chunk(index, item.start)
            if is_silent(item.samples, self.sample_rate_hz, silence_db=self.silence_db):
                blanks = self.decoder.blanks(self.chunking.num_frames(item))
                assembly.add(index, item.start, blanks)
            else:
                yield _Piece(index, item)

    def _chunks(self, recording: AudioSource) -> Iterator[Chunk | float | InputError]:
        """Yield a recording's chunks, then its length in seconds or the error that ended it."""
        num_samples = 0

        def blocks() -> Iterator[NDArray[np.float32]]:
            nonlocal num_samples
            for waveform in self.profiler.each(recording(), DECODE):
                num_samples += len(waveform.samples)
                yield waveform.samples

        try:
            yield from self.chunking(blocks())
        except InputError as error:
            yield error
        else:
            yield num_samples / self.sample_rate_hz

    def _own_s(self, piece: _Piece) -> float:
        return self.chunking.num_own_samples(piece.chunk) / self.sample_rate_hz

    def _label(self, batch: list[_Piece]) -> tuple[list[_Piece], Sequence[Labels]]:
        device = self.model.device
        with (
            self._one_at_a_time,
            self.profiler.part(ENCODER, device),
            torch.inference_mode(),
        ):
            samples = [torch.from_numpy(piece.chunk.samples) for piece in batch]
            waveforms_BN = pad_sequence(samples, batch_first=True)
            waveforms_BN = pad(waveforms_BN, (0, self._rounding(batch))).to(device)
            lengths_B = torch.tensor([len(one) for one in samples], device=device)
            try:
                outputs_BTX, lengths_B = self.model(waveforms_BN, lengths_B)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise RunError(
                    f"a batch of {self.batch_s:g} s (--batch-duration) in chunks of up to "
                    f"{max(map(len, samples)) / self.sample_rate_hz:.1f} s (--chunk) is more than "
                    f"the memory of {device} holds; make them shorter"
                ) from error
            with self.profiler.part(SEARCH):
                return batch, self.decoder.label(outputs_BTX, lengths_B)


class _TorchThreads:
    """Context manager that sets the CPU threads per torch operation in threads started inside.

    Several threads may be inside; the last one to leave restores the number from before.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._num_inside = self._before = 0

    @contextmanager
    def __call__(self, num_threads: int) -> Iterator[None]:
        with self._lock:
            if not self._num_inside:
                self._before = torch.get_num_threads()
            self._num_inside += 1
            torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            with self._lock:
                self._num_inside -= 1
                if not self._num_inside:
                    torch.set_num_threads(self._before)


_torch_threads = _TorchThreads()
