"""Many recordings at once, with a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.decode.assembly import LabelledAudio
from asr.decode.beam import BeamDecoder
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.labelling import BATCH_S, SEARCHED_TOGETHER_S, FrameLabeller
from asr.decode.timing import PARTS, Profiler
from asr.decode.vad import SpeechDetector, energy_speech
from asr.errors import InputError, RunError
from asr.model.package import ModelPackage, load_package
from asr.types import Waveform
from tests.model.configs import SAMPLE_RATE_HZ

from .package import noise, save_tiny_package

DURATIONS_S = (5.0, 0.3, 12.4, 1.0, 0.01, 3.3, 0.3)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


def labeller(
    package: ModelPackage,
    *,
    batch_s: float = 20.0,
    num_threads: int = 1,
    chunk_s: float = 2.0,
    vad: SpeechDetector | None = None,
) -> FrameLabeller:
    return FrameLabeller(
        package.model,
        GreedyDecoder(),
        chunk_s=chunk_s,
        overlap_s=0.4,
        batch_s=batch_s,
        num_threads=num_threads,
        vad=vad,
        profiler=Profiler(),
    )


def recording(duration_s: float) -> Iterator[Waveform]:
    yield noise(duration_s, seed=round(duration_s * 100))


def broken(duration_s: float) -> Iterator[Waveform]:
    yield noise(duration_s)
    raise InputError("b.wav: damaged")


def labels_of(found: LabelledAudio | InputError) -> FrameLabels:
    assert isinstance(found, LabelledAudio)
    assert isinstance(found.labels, FrameLabels)
    return found.labels


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("batch_s", [0.5, 4.0, 100.0])
def test_company_changes_nothing(package: ModelPackage, batch_s: float, num_threads: int) -> None:
    alone = [
        labels_of(one)
        for duration_s in DURATIONS_S
        for one in labeller(package, batch_s=0.01)([partial(recording, duration_s)])
    ]
    read = labeller(package, batch_s=batch_s, num_threads=num_threads)
    together = [labels_of(one) for one in read([partial(recording, one) for one in DURATIONS_S])]
    for found, expected in zip(together, alone, strict=True):
        assert torch.equal(found.ids_T, expected.ids_T)
        torch.testing.assert_close(found.scores_T, expected.scores_T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_silent_chunks_are_blank_and_not_encoded(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch, num_threads: int
) -> None:
    """Recordings of silence, speech, and both; the middle one has speech from 8 to 11 seconds."""
    speech = noise(3.0).samples
    silence = np.zeros(8 * SAMPLE_RATE_HZ, dtype=np.float32)
    audio = [silence, np.concatenate([silence, speech, silence]), speech, silence[:100]]
    encoded_s: list[float] = []
    forward = package.model.forward

    def counted(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        encoded_s.append(float(lengths_B.sum()) / SAMPLE_RATE_HZ)
        return forward(waveforms_BN, lengths_B)

    monkeypatch.setattr(package.model, "forward", counted)
    waveforms = [[Waveform(one, SAMPLE_RATE_HZ)] for one in audio]
    read = labeller(package, num_threads=num_threads)
    found = list(read([partial(iter, one) for one in waveforms]))
    labels = [labels_of(one) for one in found]
    assert sum(encoded_s) < 12
    assert [len(one) for one in labels] == [200, 475, 75, 1]
    assert not labels[0].ids_T.any()
    assert not labels[3].ids_T.any()
    assert labels[2].ids_T.any()
    said_T = labels[1].ids_T.nonzero().squeeze(1) * 0.04
    assert 6.0 <= said_T.min() <= 9.0  # chunks of two seconds, read whole
    assert 9.0 <= said_T.max() <= 13.0
    assert not read.decoder.collapse(labels[0]).token_ids


def test_an_unreadable_one_keeps_its_place(package: ModelPackage) -> None:
    found = list(
        labeller(package, num_threads=2)(
            [partial(recording, 3.0), partial(broken, 9.0), partial(recording, 1.0)]
        )
    )
    assert [isinstance(one, InputError) for one in found] == [False, True, False]
    assert str(found[1]) == "b.wav: damaged"
    assert not list(labeller(package)([]))
    assert [str(one) for one in labeller(package)([partial(broken, 0.1)])] == ["b.wav: damaged"]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_no_more_is_read_than_is_soon_encoded(package: ModelPackage, num_threads: int) -> None:
    """Of half an hour no more than two minutes are ever ahead of the encoder."""
    block_s, read_s, encoded_s, most_s = 1.0, 0.0, 0.0, 0.0

    def long() -> Iterator[Waveform]:
        nonlocal read_s, most_s
        block = noise(block_s)
        for _ in range(1800):
            read_s += block_s
            most_s = max(most_s, read_s - encoded_s)
            yield block

    def model(waveforms_BN: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal encoded_s
        frames_B = torch.div(lengths_B - 120, 320, rounding_mode="trunc").clamp_min(1)
        encoded_s += int(frames_B.sum()) * 320 / SAMPLE_RATE_HZ
        return torch.zeros(len(lengths_B), int(frames_B.max()), 3), frames_B

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.model, "forward", model)
        (found,) = labeller(package, batch_s=10.0, num_threads=num_threads)([long])
    assert isinstance(found, LabelledAudio)
    assert found.duration_s == 1800
    assert most_s < 150


def test_threads_of_torch_are_shared_and_given_back(package: ModelPackage) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    forward = package.model.forward

    def watch(waveforms_BN: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(torch.get_num_threads())
        return forward(waveforms_BN, lengths_B)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.model, "forward", watch)
        list(labeller(package, num_threads=4)([partial(recording, 1.0)]))
        list(labeller(package, batch_s=2.0, num_threads=2)([partial(recording, 9.0)]))
    assert seen[0] == 4
    assert len(seen) > 3
    assert set(seen[1:]) == {1}
    assert torch.get_num_threads() == before


def test_too_large_a_batch_says_what_to_change(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(package.model, "forward", full)
    with pytest.raises(
        RunError, match=r"a batch of 20 s \(--batch-duration\) in chunks of up to 2"
    ):
        list(labeller(package)([partial(recording, 9.0)]))


def test_few_shapes_are_encoded_whatever_the_lengths(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    forward = package.model.forward

    def watched(waveforms_BN: torch.Tensor, lengths_B: torch.Tensor) -> Any:
        seen.add(waveforms_BN.shape[1])
        return forward(waveforms_BN, lengths_B)

    monkeypatch.setattr(package.model, "forward", watched)
    read = labeller(package, batch_s=1.0, chunk_s=30.0)
    list(read([partial(recording, 4.1 + 0.01 * one) for one in range(40)]))
    assert len(seen) == 1
    list(read([partial(recording, 20.1 + 0.02 * one) for one in range(40)]))
    assert len(seen) == 2


def test_the_work_is_charged(package: ModelPackage) -> None:
    read = labeller(package, vad=energy_speech)
    list(read([partial(recording, 9.0)]))
    times_s = read.profiler.times_s()
    assert times_s.keys() == set(PARTS)
    assert all(seconds > 0 for seconds in times_s.values())
    assert not package.model.frontend._forward_hooks


@pytest.mark.gpu
def test_a_gpu_reads_the_same(package: ModelPackage, tmp_path: Path) -> None:
    on_gpu = load_package(save_tiny_package(tmp_path / "model"), "cuda")
    on_gpu.model.load_state_dict(package.model.state_dict())
    recordings = [partial(recording, one) for one in DURATIONS_S]
    expected = [labels_of(one) for one in labeller(package)(recordings)]
    read = labeller(on_gpu, num_threads=2)
    for found, one in zip(read(recordings), expected, strict=True):
        torch.testing.assert_close(labels_of(found).scores_T, one.scores_T, atol=1e-3, rtol=0)
    assert read.profiler.times_s().keys() == set(PARTS) - {"vad"}


def test_a_beam_gets_larger_batches(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    sizes = {
        type(search).__name__: FrameLabeller(package.model, search, chunk_s=5, overlap_s=1).batch_s
        for search in (GreedyDecoder(), BeamDecoder())
    }
    assert sizes == {"GreedyDecoder": BATCH_S["cpu"], "BeamDecoder": SEARCHED_TOGETHER_S}
