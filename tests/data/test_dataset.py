from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.data.dataset import SpeechDataset
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.text.tokenizer import Tokenizer


def make_dataset(tokenizer: Tokenizer, *, cache_audio: bool = False) -> SpeechDataset:
    return SpeechDataset(
        tokenizer=tokenizer,
        normalizer=str.upper,
        sample_rate_hz=16_000,
        cache_audio=cache_audio,
    )


@pytest.mark.parametrize("cache_audio", [False, True])
def test_a_batch_holds_samples_and_tokens(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer, cache_audio: bool
) -> None:
    utterances = read_manifest(make_manifest([0.5, 1.0, 0.25]))
    dataset = make_dataset(tokenizer, cache_audio=cache_audio)
    for _ in range(2):
        batch = dataset[utterances]
        assert batch is not None
        assert batch.utterance_ids == ("u0000", "u0001", "u0002")
        assert batch.texts == ("ALPHA", "ALPHA BRAVO", "ALPHA BRAVO CHARLIE")
        assert batch.waveforms_BN.shape == (3, 16_000)
        assert batch.waveforms_BN.dtype == torch.float32
        assert batch.waveform_lengths_B.tolist() == [8000, 16_000, 4000]
        for row, (utterance, length) in enumerate(
            zip(utterances, batch.waveform_lengths_B, strict=True)
        ):
            expected, _rate = soundfile.read(utterance.audio_path, dtype="float32")
            torch.testing.assert_close(batch.waveforms_BN[row, :length], torch.tensor(expected))
            assert not batch.waveforms_BN[row, length:].any()
            ids = batch.token_ids_BU[row, : batch.token_lengths_B[row]].tolist()
            assert tokenizer.decode(ids) == batch.texts[row]
            assert not batch.token_ids_BU[row, batch.token_lengths_B[row] :].any()


def test_a_cached_epoch_reads_no_file(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    utterances = read_manifest(make_manifest([0.5, 0.7]))
    dataset = make_dataset(tokenizer, cache_audio=True)
    first = dataset[utterances]
    for utterance in utterances:
        utterance.audio_path.unlink()
    second = dataset[utterances]
    assert first is not None
    assert second is not None
    assert torch.equal(first.waveforms_BN, second.waveforms_BN)


def test_only_the_stretch_is_read_and_resampled(tmp_path: Path, tokenizer: Tokenizer) -> None:
    time_s = np.arange(48_000 * 2) / 48_000
    wave = np.where(time_s < 1.0, 0.0, np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([wave, wave], axis=1) * 0.5, 48_000)
    write_manifest(
        [CheckedUtterance("u", path, 1.25, 0.5, 48_000, 2, "alpha", None)], tmp_path / "m.jsonl"
    )
    batch = make_dataset(tokenizer)[read_manifest(tmp_path / "m.jsonl")]
    assert batch is not None
    assert batch.texts == ("ALPHA",)
    assert batch.waveform_lengths_B.tolist() == [8000]
    rms = float(batch.waveforms_BN[0, 500:-500].square().mean().sqrt())
    assert rms == pytest.approx(0.5 / 2**0.5, rel=0.02)


def test_unreadable_files_are_named_once_and_left_out(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    utterances = read_manifest(make_manifest([0.5, 0.6, 0.7]))
    paths = [utterance.audio_path for utterance in utterances]
    paths[0].write_bytes(b"")
    paths[2].unlink()
    dataset = make_dataset(tokenizer)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            batch = dataset[utterances]
            assert batch is not None
            assert batch.utterance_ids == ("u0001",)
    assert list(dataset.skipped) == ["u0000", "u0002"]
    assert [str(paths[0]) in message for message in caplog.messages] == [True, False]
    assert str(paths[2]) in caplog.messages[1]


def test_a_batch_without_readable_audio_is_none(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    utterances = read_manifest(make_manifest([0.5], audio=False))
    assert make_dataset(tokenizer)[utterances] is None
