"""Dataset of padded batches: reads audio, applies augmentation, tokenises, pads.

Shape legend: B batch, N samples, U tokens.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from asr.audio.read import decode_audio, read_audio, stream_audio
from asr.audio.resample import resample, resample_blocks
from asr.data.augment import SoundError
from asr.data.check import what_changed
from asr.data.joining import join_samples, join_texts
from asr.data.manifest import Utterance, Utterances
from asr.data.shards.read import fetch
from asr.data.summary import Skipped
from asr.errors import InputError
from asr.text.tokenizer import Tokenizer
from asr.types import Batch, Waveform

Augment: TypeAlias = Callable[[NDArray[np.float32], int, random.Random], NDArray[np.float32]]
"""Maps samples (N,) at a sample rate in Hz to new samples (N,), with a random generator."""

_FULL_SCALE = np.float32(32768)  # of 16-bit samples

logger = logging.getLogger(__name__)


class ReadBatch(NamedTuple):
    """A batch, or None if nothing could be read, and the utterances and sounds not read.

    ``skipped`` has the skipped utterances by id; ``sounds`` has, by file, the reasons why sounds
    were not mixed into speech.
    """

    batch: Batch | None
    skipped: dict[str, Skipped]
    sounds: dict[str, str]


class SpeechDataset(Dataset[Batch | None]):
    """A dataset that reads the utterances of a batch into a ``Batch``.

    Audio that cannot be read, or has another size than when it was prepared, is logged once,
    recorded in ``skipped`` and left out; a batch with nothing left is None. If a sound to be mixed
    into an utterance cannot be read, it is logged and recorded in ``bad_sounds``, and the utterance
    is used without it.

    Args:
        tokenizer: makes the token ids.
        normalizer: applied to transcripts before tokenisation.
        sample_rate_hz: of the batches; audio at other rates is resampled.
        augment: augmentations of training samples, applied in this order; see ``read``.
        seed: of the augmentations.
        cache_audio: keep samples in memory (16 bit, 115 MB an hour at 16 kHz, in each loader
            worker), so that later epochs read no file.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        normalizer: Callable[[str], str],
        sample_rate_hz: int,
        cache_audio: bool = False,
        augment: Sequence[Augment] = (),
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.normalizer = normalizer
        self.sample_rate_hz = sample_rate_hz
        self.cache_audio = cache_audio
        self.augment = augment
        self.seed = seed
        self._cache: dict[str, NDArray[np.int16]] = {}
        self.skipped: dict[str, Skipped] = {}
        self.bad_sounds: dict[str, str] = {}

    def __getitem__(self, utterances: Utterances) -> Batch | None:
        reading = self.read(utterances)
        self.note(reading)
        return reading.batch

    def read(self, utterances: Utterances, epoch: int | None = None) -> ReadBatch:
        """Read a batch and collect what could not be read, without logging or counting it.

        With an ``epoch``, utterances are augmented. The random numbers of an utterance depend only
        on its name, the epoch and the seed, not on the worker or on earlier reads. Of a joined
        utterance, the parts that can be read are joined.
        """
        texts: dict[str, str] = {}
        signals: list[NDArray[np.float32]] = []
        skipped: dict[str, Skipped] = {}
        sounds: dict[str, str] = {}
        for utterance in utterances:
            read: list[NDArray[np.float32]] = []
            spelt: list[str] = []
            for part in utterance.parts or (utterance,):
                try:
                    samples = self._read_samples(part)
                    if epoch is not None:
                        generator = random.Random(f"{self.seed}/{epoch}/{part.utterance_id}")
                        samples = self._augment(samples, generator, sounds)
                except InputError as error:
                    skipped[part.utterance_id] = Skipped(part.utterance_id, str(error))
                else:
                    read.append(samples)
                    spelt.append(self.normalizer(part.text))
            if read:
                pause = round(utterance.pause_s * self.sample_rate_hz)
                signals.append(join_samples(read, pause))
                texts[utterance.utterance_id] = join_texts(spelt)
        if not signals:
            return ReadBatch(None, skipped, sounds)
        token_ids = [self.tokenizer.encode(text) for text in texts.values()]
        batch = _collate(tuple(texts), tuple(texts.values()), signals, token_ids)
        return ReadBatch(batch, skipped, sounds)

    def note(self, reading: ReadBatch) -> None:
        """Count utterances and sounds that could not be read, and log each once."""
        for utterance_id, row in reading.skipped.items():
            if utterance_id not in self.skipped:
                logger.warning("skipped utterance %s", row)
                self.skipped[utterance_id] = row
        for sound, reason in reading.sounds.items():
            if sound not in self.bad_sounds:
                logger.warning("not mixed into speech: %s", reason)
                self.bad_sounds[sound] = reason

    def _read_samples(self, utterance: Utterance) -> NDArray[np.float32]:
        if not self.cache_audio:
            return self._decode(utterance).samples
        samples = self._cache.get(utterance.utterance_id)
        if samples is None:
            scaled = np.rint(self._decode(utterance).samples * _FULL_SCALE)
            samples = np.clip(scaled, -32768, 32767).astype(np.int16)
            self._cache[utterance.utterance_id] = samples
        return samples.astype(np.float32) / _FULL_SCALE

    def _augment(
        self, samples: NDArray[np.float32], generator: random.Random, sounds: dict[str, str]
    ) -> NDArray[np.float32]:
        """Augment samples; add to ``sounds`` why a sound could not be read."""
        for change in self.augment:
            try:
                samples = change(samples, self.sample_rate_hz, generator)
            except SoundError as error:
                sounds[error.sound] = str(error)
        return samples

    def _decode(self, utterance: Utterance) -> Waveform:
        if utterance.offset is None:
            if changed := what_changed(utterance):
                raise InputError(f"{utterance.source}: {changed}")
            waveform = read_audio(
                utterance.audio_path, start_s=utterance.start_s, duration_s=utterance.duration_s
            )
        else:
            data = fetch(utterance.source, utterance.offset, utterance.num_bytes)
            waveform = decode_audio(data, f"{utterance.source}, {utterance.utterance_id}")
        return resample(waveform, self.sample_rate_hz)


def stream_utterance(utterance: Utterance, sample_rate_hz: int) -> Iterator[Waveform]:
    """Yield the audio of an utterance at ``sample_rate_hz`` in blocks; one block from a shard.

    Raises:
        InputError: it cannot be read, or has another size than when it was prepared.
    """
    if utterance.offset is None:
        if changed := what_changed(utterance):
            raise InputError(f"{utterance.source}: {changed}")
        blocks = stream_audio(
            utterance.audio_path, start_s=utterance.start_s, duration_s=utterance.duration_s
        )
        yield from resample_blocks(blocks, sample_rate_hz)
    else:
        data = fetch(utterance.source, utterance.offset, utterance.num_bytes)
        yield resample(
            decode_audio(data, f"{utterance.source}, {utterance.utterance_id}"), sample_rate_hz
        )


def _collate(
    utterance_ids: tuple[str, ...],
    texts: tuple[str, ...],
    signals: Sequence[NDArray[np.float32]],
    token_ids: Sequence[Sequence[int]],
) -> Batch:
    lengths_B = torch.tensor([len(samples) for samples in signals])
    waveforms_BN = torch.zeros(len(signals), int(lengths_B.max()))
    for row_N, samples in zip(waveforms_BN, signals, strict=True):
        row_N[: len(samples)] = torch.from_numpy(samples)
    token_lengths_B = torch.tensor([len(ids) for ids in token_ids])
    token_ids_BU = torch.zeros(len(token_ids), int(token_lengths_B.max()), dtype=torch.int64)
    for row_U, ids in zip(token_ids_BU, token_ids, strict=True):
        row_U[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return Batch(utterance_ids, texts, waveforms_BN, lengths_B, token_ids_BU, token_lengths_B)
