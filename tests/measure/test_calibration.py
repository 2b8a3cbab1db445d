from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.data.manifest import read_manifest
from asr.decode.greedy import GreedyDecoder
from asr.errors import InputError
from asr.measure.calibration import CalibrationBatches
from asr.measure.evaluation import evaluate
from asr.metrics.attention import total_variation_similarity
from asr.model.package import ModelPackage, load_package
from tests.decode.package import save_tiny_package
from tests.measure.analysis.cases import TEXTS, encode_alone, write_data


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("noise"))


def test_loss_and_wer_are_those_of_utterances_alone(
    package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.data.loader.EVALUATION_BATCH_S", 4.0)
    utterances = read_manifest(data)
    calibration = CalibrationBatches.read(package, utterances)
    assert len(calibration.batches) > 2
    assert calibration.num_utterances == len(TEXTS)
    losses = []
    for index, text in enumerate(TEXTS):
        encoded = encode_alone(package, data.parent / f"u{index}.wav")
        log_probs_TV = package.model.head(encoded.frames_BTD)[0].detach()
        token_ids = torch.tensor(package.tokenizer.encode(text))
        losses.append(
            functional.ctc_loss(
                log_probs_TV,
                token_ids,
                torch.tensor(len(log_probs_TV)),
                torch.tensor(len(token_ids)),
                reduction="sum",
            )
        )
    found = calibration.test(package.model, package.tokenizer, GreedyDecoder())
    assert found.loss == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)
    assert found.wer == pytest.approx(evaluate(package, utterances, GreedyDecoder()).wer.wer)


def test_memory_does_not_grow_with_the_audio(
    package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches there are, the features of one are alive."""
    monkeypatch.setattr("asr.data.loader.EVALUATION_BATCH_S", 4.0)
    utterances = read_manifest(data)
    many = [
        utterance._replace(utterance_id=f"{utterance.utterance_id}-{copy}")
        for copy in range(5)
        for utterance in utterances
    ]
    alive: list[weakref.ref[Tensor]] = []
    num_alive: list[int] = []
    frontend = package.model.frontend

    def note(_module: object, _given: object, output: tuple[Tensor, Tensor]) -> None:
        num_alive.append(sum(one() is not None for one in alive))
        alive.append(weakref.ref(output[0]))

    hook = frontend.register_forward_hook(note)
    calibration = CalibrationBatches.read(package, many)
    hook.remove()
    assert len(calibration.batches) == len(num_alive) > 10
    assert max(num_alive) <= 2
    first, again = (list(calibration.batches) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.features_BTF, other.features_BTF)
        assert one.utterance_ids == other.utterance_ids


def test_heads_are_compared_without_padding(package: ModelPackage, data: Path) -> None:
    similarities = []
    for index in range(len(TEXTS)):
        maps = encode_alone(package, data.parent / f"u{index}.wav").maps
        known = [one for one in maps if one is not None]
        similarities.append(total_variation_similarity(torch.cat(known)))
    said: list[str] = []
    found = CalibrationBatches.read(package, read_manifest(data)).head_similarity(
        package.model, report=said.append
    )
    torch.testing.assert_close(
        found, torch.stack(similarities).mean(0).double(), atol=1e-4, rtol=1e-4
    )
    assert said[-1] == f"compared heads on {len(TEXTS)} of {len(TEXTS)} utterances"


def test_utterances_that_cannot_be_used(package: ModelPackage, data: Path, tmp_path: Path) -> None:
    utterances = read_manifest(data)
    broken = tmp_path / "broken.wav"
    broken.write_text("no audio")
    utterances[0] = utterances[0]._replace(source=str(broken))
    assert CalibrationBatches.read(package, utterances[:3]).num_utterances == 2
    with pytest.raises(InputError, match="none of 1 utterances could be read"):
        CalibrationBatches.read(package, utterances[:1])
    crowded = utterances[1]._replace(text="a dog sat on the mat " * 40)
    one = CalibrationBatches.read(package, [crowded])
    with pytest.raises(InputError, match="no utterance is long enough for its transcript"):
        one.test(package.model, package.tokenizer, GreedyDecoder())
