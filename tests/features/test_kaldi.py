"""Kaldi's features, against torchaudio's translation of its code and, where it is installed, the
C++ of kaldi-native-fbank."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi
from numpy.typing import NDArray
from torch import Tensor

from asr.audio.read import read_audio
from asr.errors import InputError
from asr.features.fbank import LogMel
from asr.features.frontend import Frontend
from asr.features.kaldi import KaldiFbank
from asr.features.normalize import UtteranceNorm
from asr.interop.onnx.file import Session
from asr.interop.onnx.graph import (
    FEATURE_LENGTHS,
    FEATURES,
    WAVEFORM_LENGTHS,
    WAVEFORMS,
    export_frontend,
)
from asr.model.build import build_model
from tests.model.configs import VOCAB_SIZE, changed

SETTINGS: list[dict[str, Any]] = [
    {},
    {"num_mel_bins": 23, "sample_rate_hz": 8000},
    {"sample_rate_hz": 11_025, "num_mel_bins": 40},
    {"low_hz": 60.0, "high_hz": -400.0},
    {"window_ms": 32.0, "shift_ms": 8.0, "high_hz": 7600.0, "num_mel_bins": 64},
]


def in_16_bits(waveform_N: Tensor) -> Tensor:
    return (waveform_N * 2**15).round() / 2**15


def speech_like(num_samples: int, *, seed: int = 0) -> Tensor:
    """A buzz under noise, loud and quiet in turn."""
    generator = torch.Generator().manual_seed(seed)
    time_N = torch.arange(num_samples) / 16_000
    envelope_N = (2 * math.pi * 3 * time_N).sin().square()
    buzz_N = torch.stack([(2 * math.pi * 120 * k * time_N).sin() / k for k in range(1, 20)]).sum(0)
    noise_N = torch.randn(num_samples, generator=generator)
    return in_16_bits(0.1 * envelope_N * buzz_N + 0.01 * noise_N)


def features(fbank: LogMel, waveform_N: Tensor) -> Tensor:
    features_BTF, _ = fbank.eval()(waveform_N[None], torch.tensor([len(waveform_N)]))
    found_TF: Tensor = features_BTF[0]
    return found_TF


def by_torchaudio(fbank: KaldiFbank, waveform_N: Tensor, settings: dict[str, Any]) -> Tensor:
    expected_TF: Tensor = torchaudio.compliance.kaldi.fbank(
        waveform_N[None].double() * 2**15,
        sample_frequency=fbank.sample_rate_hz,
        num_mel_bins=fbank.num_mel_bins,
        frame_length=settings.get("window_ms", 25.0),
        frame_shift=settings.get("shift_ms", 10.0),
        low_freq=settings.get("low_hz", 20.0),
        high_freq=settings.get("high_hz", 0.0),
        dither=0.0,
    )
    return expected_TF.float()


def by_kaldi(fbank: KaldiFbank, waveform_N: Tensor, settings: dict[str, Any]) -> Tensor:
    knf: Any = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = fbank.sample_rate_hz
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.frame_opts.frame_length_ms = settings.get("window_ms", 25.0)
    options.frame_opts.frame_shift_ms = settings.get("shift_ms", 10.0)
    options.mel_opts.num_bins = fbank.num_mel_bins
    options.mel_opts.low_freq = settings.get("low_hz", 20.0)
    options.mel_opts.high_freq = settings.get("high_hz", 0.0)
    options.use_energy = False
    online = knf.OnlineFbank(options)
    online.accept_waveform(fbank.sample_rate_hz, (waveform_N * 2**15).tolist())
    online.input_finished()
    frames: list[NDArray[np.float32]] = [
        online.get_frame(index) for index in range(online.num_frames_ready)
    ]
    return torch.from_numpy(np.stack(frames))


@pytest.mark.parametrize("reference", [by_torchaudio, by_kaldi])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_equals_kaldi(reference: Any, settings: dict[str, Any]) -> None:
    fbank = KaldiFbank(**settings)
    for waveform_N in (speech_like(20_000), speech_like(20_000) + 0.25):
        expected_TF = reference(fbank, waveform_N, settings)
        found_TF = features(fbank, waveform_N)
        assert found_TF.shape == expected_TF.shape
        torch.testing.assert_close(found_TF, expected_TF, atol=1e-3, rtol=0)


@pytest.mark.parametrize("reference", [by_torchaudio, by_kaldi])
def test_silence_has_kaldis_floor(reference: Any) -> None:
    fbank, waveform_N = KaldiFbank(), torch.zeros(4000)
    torch.testing.assert_close(features(fbank, waveform_N), reference(fbank, waveform_N, {}))


@pytest.mark.parametrize("reference", [by_torchaudio, by_kaldi])
def test_equals_kaldi_on_speech(reference: Any, speech_dir: Path) -> None:
    paths = sorted(speech_dir.glob("librispeech/test/*/*/*.flac"))[:3]
    assert paths
    for path in paths:
        waveform_N = torch.from_numpy(read_audio(path).samples)
        expected_TF = reference(KaldiFbank(), waveform_N, {})
        difference_TF = (features(KaldiFbank(), waveform_N) - expected_TF).abs()
        assert difference_TF.max() < 2e-3  # Kaldi's own rounding, in a faint bin or two
        assert (difference_TF > 1e-3).double().mean() < 1e-4


def test_padding_changes_nothing() -> None:
    lengths = [16_000, 9_001, 559, 300, 12_345]
    waveforms_BN = torch.zeros(len(lengths), 20_000)
    for row, length in enumerate(lengths):
        waveforms_BN[row, :length] = speech_like(length, seed=row)
    frontend = Frontend(fbank=KaldiFbank(), normalize=UtteranceNorm(variance=True, range_db=50.0))
    features_BTF, lengths_B = frontend.eval()(waveforms_BN, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone_BTF, alone_B = frontend(waveforms_BN[row : row + 1, :length], torch.tensor([length]))
        assert alone_B.tolist() == [int(lengths_B[row])]
        torch.testing.assert_close(
            features_BTF[row, : lengths_B[row]], alone_BTF[0], atol=1e-5, rtol=1e-5
        )


def test_they_are_exported() -> None:
    config = changed("features.fbank._target_", "asr.features.kaldi.KaldiFbank")
    model = build_model(config, vocab_size=VOCAB_SIZE).eval()
    session = Session(export_frontend(model).SerializeToString(), where="here", num_threads=1)
    waveforms_BN = torch.stack([speech_like(9000), speech_like(9000, seed=1)])
    lengths_B = torch.tensor([9000, 4000])
    waveforms_BN[1, 4000:] = 0.0
    with torch.inference_mode():
        expected_BTF, expected_B = model.frontend(waveforms_BN, lengths_B)
    inputs = {WAVEFORMS: waveforms_BN, WAVEFORM_LENGTHS: lengths_B}
    found_BTF, found_B = session(inputs, [FEATURES, FEATURE_LENGTHS])
    assert torch.equal(found_B, expected_B)
    for row, length in enumerate(expected_B.tolist()):
        torch.testing.assert_close(
            found_BTF[row, :length], expected_BTF[row, :length], rtol=1e-3, atol=2e-3
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"high_hz": -8000.0}, r"features\.fbank\.low_hz, high_hz: 20, 0 must rise"),
        ({"high_hz": 9000.0}, r"features\.fbank\.low_hz, high_hz: 20, 9000"),
        ({"num_mel_bins": 0}, r"features\.fbank\.num_mel_bins=0"),
        ({"num_mel_bins": 400}, r"features\.fbank\.num_mel_bins: 400 leaves \d+ filters"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        KaldiFbank(**settings)
