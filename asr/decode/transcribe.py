"""An audio file to a transcript: any format, sample rate and length.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.decode.chunking import chunks
from asr.decode.greedy import GreedyDecoder
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

    Audio longer than ``chunk_s`` is encoded in chunks that share ``overlap_s`` seconds.

    Raises:
        InputError: the chunk has no length, or the overlap is not shorter than the chunk.
    """

    def __init__(
        self,
        package: Recogniser,
        decoder: GreedyDecoder,
        *,
        chunk_s: float = 30.0,
        overlap_s: float = 4.0,
    ) -> None:
        if not 0 < chunk_s < math.inf:
            raise InputError(f"chunk of {chunk_s:g} s; allowed: above 0 s")
        if not 0 <= overlap_s < chunk_s:
            raise InputError(
                f"overlap of {overlap_s:g} s; allowed: 0 to below the chunk, {chunk_s:g} s"
            )
        self.package = package
        self.decoder = decoder
        fbank = package.model.frontend.fbank
        self.sample_rate_hz = fbank.sample_rate_hz
        self.samples_per_frame = fbank.shift_size * package.model.subsampling_factor
        self.lookahead_samples = max(0, fbank.window_size - fbank.shift_size)
        self.frame_shift_s = self.samples_per_frame / self.sample_rate_hz
        self.chunk_frames = max(1, round(chunk_s / self.frame_shift_s))
        self.overlap_frames = min(round(overlap_s / self.frame_shift_s), self.chunk_frames - 1)

    def __call__(self, path: Path) -> Transcript:
        """Transcribe one file.

        Raises:
            InputError: the file cannot be read as audio.
        """
        waveform = resample(read_audio(path), self.sample_rate_hz)
        log_probs_TV = self.log_probs(waveform)
        length = torch.tensor([len(log_probs_TV)])
        hypothesis = self.decoder(log_probs_TV.unsqueeze(0), length)[0]
        tokenizer = self.package.tokenizer
        pieces = tokenizer.pieces(hypothesis.token_ids)
        return Transcript(
            audio_path=str(path),
            duration_s=round(waveform.duration_s, 3),
            text=" ".join(tokenizer.decode(hypothesis.token_ids).split()),
            words=tuple(
                timed_words(
                    pieces, hypothesis.token_frames, self.frame_shift_s, waveform.duration_s
                )
            ),
        )

    def log_probs(self, waveform: Waveform) -> Tensor:
        """Log probabilities (T, V) of the whole waveform, chunk by chunk."""
        samples_N = torch.from_numpy(waveform.samples)
        device = self.package.model.device
        kept = []
        for chunk in chunks(
            self.num_frames(len(samples_N)),
            chunk_frames=self.chunk_frames,
            overlap_frames=self.overlap_frames,
        ):
            start = chunk.start * self.samples_per_frame
            stop = chunk.stop * self.samples_per_frame + self.lookahead_samples
            waveforms_BN = samples_N[None, start:stop].to(device)
            lengths_B = torch.tensor([waveforms_BN.shape[1]], device=device)
            with torch.inference_mode():
                log_probs_BTV, _ = self.package.model(waveforms_BN, lengths_B)
            keep = slice(chunk.keep_from - chunk.start, chunk.keep_to - chunk.start)
            kept.append(log_probs_BTV[0, keep].cpu())
        return torch.cat(kept)

    def num_frames(self, num_samples: int) -> int:
        """Encoder frames of a waveform of ``num_samples``."""
        num_features = int(self.package.model.frontend.fbank.num_frames(torch.tensor(num_samples)))
        return -(-num_features // self.package.model.subsampling_factor)
