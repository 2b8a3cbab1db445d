from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr.data.manifest import read_manifest
from asr.decode.greedy import GreedyDecoder
from asr.measure.exported import (
    TORCH,
    Agreement,
    ExportRow,
    agreements,
    export_rows,
    export_table,
)
from asr.measure.samples import samples_of_audio, samples_of_noise, samples_of_utterances
from asr.metrics.wer import WordErrors
from asr.model.package import ModelPackage, load_package
from tests.decode.package import save_tiny_package, write_noise
from tests.measure.analysis.cases import TEXTS, write_data
from tests.model.configs import SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


def test_the_error_of_frames_by_hand() -> None:
    agreement = Agreement()
    agreement.add_frames(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]]))
    agreement.add_frames(torch.tensor([[1.0, -3.0]]), torch.tensor([[1.0, 0.0]]))
    assert agreement.largest == 3.0
    assert agreement.relative == pytest.approx((10 / 19) ** 0.5)


def test_programs_beside_the_model(package: ModelPackage, tmp_path: Path) -> None:
    """One that does the same, and one that is off and writes nothing."""
    model = package.model

    def same(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded = model.encoder(*model.frontend(waveforms_BN, lengths_B))
        encoded.frames_BTD.masked_fill_(
            torch.arange(encoded.frames_BTD.shape[1])[:, None] >= encoded.lengths_B[:, None, None],
            1e9,  # behind the lengths anything may stand
        )
        return model.head(encoded.frames_BTD), encoded.lengths_B, encoded.frames_BTD

    def silent(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_probs_BTV, frame_lengths_B, frames_BTD = same(waveforms_BN, lengths_B)
        log_probs_BTV[..., 0] = 100.0
        return log_probs_BTV, frame_lengths_B, frames_BTD + 0.5

    samples = list(samples_of_utterances(package, read_manifest(write_data(tmp_path)), "test"))
    found = agreements(package, {"same": same, "silent": silent}, samples, GreedyDecoder())
    assert found.keys() == {TORCH, "same", "silent"}
    num_words = sum(len(text.split()) for text in TEXTS)
    for name in (TORCH, "same"):
        assert found[name].largest == found[name].relative == 0.0
        assert WordErrors.total(found[name].changed).errors == 0
    assert found["same"].errors == found[TORCH].errors
    assert found["silent"].largest == pytest.approx(0.5, abs=1e-5)
    assert WordErrors.total(found["silent"].changed).wer == 100.0
    total = WordErrors.total(found["silent"].errors["test"])
    assert (total.del_, total.words) == (num_words, num_words)


def test_audio_in_pieces(tmp_path: Path) -> None:
    samples = list(samples_of_audio(write_noise(tmp_path / "a.flac", 61.0, 16_000), SAMPLE_RATE_HZ))
    assert [int(one.lengths_B) for one in samples] == [240_000, 240_000, 8_000]
    assert all(one.texts is None and one.split == "audio" for one in samples)


def test_no_words_are_read_out_of_noise(package: ModelPackage) -> None:
    def other(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded = package.model.encoder(*package.model.frontend(waveforms_BN, lengths_B))
        frames_BTD = encoded.frames_BTD + 1.0
        return package.model.head(frames_BTD), encoded.lengths_B, frames_BTD

    decoder = GreedyDecoder()
    found = agreements(package, {"other": other}, samples_of_noise(SAMPLE_RATE_HZ), decoder)
    assert found["other"].relative > 0
    assert found["other"].changed == []
    rows = [
        ExportRow(runtime=name, size_mib=1.0, agreement=one, timings={})
        for name, one in found.items()
    ]
    text = export_table(rows).text()
    assert "frames of noise: error, relative" in text
    assert "words" not in text
    assert export_rows(rows)[1]["words_changed"] is None


def test_noise_has_unequal_lengths_and_silent_padding() -> None:
    (sample,) = samples_of_noise(SAMPLE_RATE_HZ)
    assert len(set(sample.lengths_B.tolist())) == len(sample.lengths_B) == 3
    for row, length in enumerate(sample.lengths_B.tolist()):
        assert not sample.waveforms_BN[row, length:].any()
