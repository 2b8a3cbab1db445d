from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.data.manifest import read_manifest
from asr.data.splits import evenly_spaced
from asr.errors import InputError
from asr.measure.analysis import analyze as analyze_module
from asr.measure.analysis.analyze import analyze
from asr.measure.analysis.attention import NUM_POINTS
from asr.metrics.attention import (
    diagonality,
    jensen_shannon_similarity,
    same_head,
    total_variation_similarity,
)
from asr.model.package import ModelPackage, load_package
from asr.report.analysis import Analysis
from asr.text.normalize import TranscriptNormalizer
from tests.decode.package import save_tiny_package
from tests.model.configs import CONFIG

from .cases import DURATIONS_S, TEXTS, encode_alone


def test_streaming_over_padded_batches_is_the_mean_of_each_alone(
    analysis: Analysis, package: ModelPackage, data: Path
) -> None:
    total_variation, jensen_shannon, area, curve = [], [], [], []
    for index in range(len(TEXTS)):
        maps = encode_alone(package, data.parent / f"u{index}.wav").maps
        probs_LHTT = torch.cat([one for one in maps if one is not None])
        assert len(probs_LHTT) == 4
        total_variation.append(total_variation_similarity(probs_LHTT))
        jensen_shannon.append(jensen_shannon_similarity(probs_LHTT).mean(-1))
        found = diagonality(probs_LHTT, num_points=NUM_POINTS)
        area.append(found.area_LH)
        curve.append(found.curve_LHR)

    def check(found: object, expected: list[torch.Tensor]) -> None:
        assert torch.allclose(torch.tensor(found), torch.stack(expected).mean(0), atol=2e-5)

    check(analysis.similarity.total_variation_heads, total_variation)
    check(
        analysis.similarity.total_variation,
        [same_head(similarity).mean(-1) for similarity in total_variation],
    )
    check(analysis.similarity.jensen_shannon, jensen_shannon)
    check(analysis.diagonality.area, area)
    check(analysis.diagonality.curve, curve)


def test_the_size_of_batches_changes_nothing(
    analysis: Analysis, package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.data.loader.EVALUATION_BATCH_S", 0.1)  # one at a time
    alone = analyze(package, read_manifest(data), run="tiny", data="test", threshold=0.8)
    assert alone.relationship is not None
    assert analysis.relationship is not None
    assert alone.counted == analysis.counted
    assert alone.probe == analysis.probe
    assert torch.tensor(alone.relationship.layers).allclose(
        torch.tensor(analysis.relationship.layers), atol=1e-3, equal_nan=True
    )


def test_a_group_that_shares_its_map_has_similarity_1(analysis: Analysis) -> None:
    assert (analysis.reuse, analysis.map_layers) == ("probs", [0, 1, 2, 3])
    for matrix in (analysis.similarity.total_variation, analysis.similarity.jensen_shannon):
        for a in range(4):
            for b in range(4):
                same_group = a // 2 == b // 2
                assert math.isclose(matrix[a][b], 1.0, abs_tol=1e-4) == same_group
    assert analysis.diagonality.area[0] == analysis.diagonality.area[1]
    assert analysis.suggested is not None
    found = {tuple(one.groups): one.risk for one in analysis.suggested.best}
    assert found[2, 2] == pytest.approx(0.0, abs=1e-4)
    assert analysis.suggested.proposed == analysis.suggested.greedy


def test_layers_without_reuse_are_not_alike(tmp_path: Path, data: Path) -> None:
    config = {**CONFIG, "reuse": {"_target_": "asr.reuse.none.NoReuse"}}
    package = load_package(save_tiny_package(tmp_path / "model", config))
    found = analyze(package, read_manifest(data), run="none", data="test", threshold=0.99)
    similarity = torch.tensor(found.similarity.total_variation)
    assert similarity.fill_diagonal_(0.0).max() < 0.95
    assert found.suggested is not None
    assert found.suggested.greedy.groups == [1, 1, 1, 1]
    assert found.suggested.best[-1].groups == [1, 1, 1, 1]
    assert found.suggested.best[-1].risk == 0.0


def test_what_the_numbers_rest_on(analysis: Analysis) -> None:
    counted = analysis.counted
    assert counted.num_utterances == counted.num_aligned == len(TEXTS)
    assert counted.num_skipped == counted.num_left_out == 0
    assert analysis.frame_shift_s == pytest.approx(0.04)
    assert analysis.probe is not None
    assert len(analysis.probe.accuracy) == 4
    assert all(0 <= accuracy <= 100 for accuracy in analysis.probe.accuracy)
    # Each token is aligned with one frame at least; every fifth utterance is kept for testing.
    assert analysis.probe.num_test_frames >= len(TEXTS[4].replace(" ", ""))
    assert analysis.probe.num_train_frames > analysis.probe.num_test_frames
    assert analysis.relationship is not None
    letters = {letter for text in TEXTS for letter in text} - {" "}
    assert set(analysis.relationship.tokens) - {"\u2581"} <= letters
    assert len(analysis.relationship.same) == 4


def test_long_and_short_utterances(
    package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyze_module, "MAX_UTTERANCE_S", 1.2)
    utterances = read_manifest(data)
    found = analyze(package, utterances, run="tiny", data="test", threshold=0.8)
    assert found.counted.num_left_out == sum(s > 1.2 for s in DURATIONS_S)
    assert found.counted.num_utterances == sum(s <= 1.2 for s in DURATIONS_S)
    assert found.probe is None  # too few to keep one for testing
    monkeypatch.setattr(analyze_module, "MAX_UTTERANCE_S", 0.1)
    with pytest.raises(InputError, match=r"longer than 0\.1 s"):
        analyze(package, utterances, run="tiny", data="test", threshold=0.8)


def test_a_transcript_the_model_cannot_write_is_not_aligned(
    package: ModelPackage, data: Path
) -> None:
    upper = TranscriptNormalizer(case="upper", punctuation="drop")
    foreign = replace(package, normalizer=upper)
    found = analyze(
        foreign, evenly_spaced(read_manifest(data), 5), run="x", data="y", threshold=0.8
    )
    assert found.counted.num_aligned == 0
    assert found.relationship is None
    assert found.probe is None


def test_audio_that_cannot_be_read(package: ModelPackage, data: Path, tmp_path: Path) -> None:
    utterances = read_manifest(data)
    broken = tmp_path / "broken.wav"
    broken.write_text("no audio")
    utterances[0] = utterances[0]._replace(source=str(broken))
    found = analyze(package, utterances[:2], run="x", data="y", threshold=0.8)
    assert (found.counted.num_utterances, found.counted.num_skipped) == (1, 1)
    with pytest.raises(InputError, match="none of 1 utterances could be read"):
        analyze(package, utterances[:1], run="x", data="y", threshold=0.8)


def test_a_layer_without_a_map_has_no_part_in_what_is_measured_on_maps(
    package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = package.model.encoder
    monkeypatch.setattr(encoder.layers[0].attention, "attention_map", lambda *_: None)
    monkeypatch.setattr(encoder.layers[1].attention, "attention_map", lambda *_: None)
    found = analyze(package, read_manifest(data), run="x", data="y", threshold=0.8)
    assert found.map_layers == [2, 3]
    assert len(found.similarity.total_variation) == len(found.diagonality.area) == 2
    assert found.suggested is None  # groups would have to name every layer
    assert found.probe is not None
    assert len(found.probe.accuracy) == 4
    for layer in (2, 3):
        monkeypatch.setattr(encoder.layers[layer].attention, "attention_map", lambda *_: None)
    with pytest.raises(InputError, match="no layer of this model has an attention map"):
        analyze(package, read_manifest(data), run="x", data="y", threshold=0.8)


def test_a_layer_of_fewer_heads_has_no_part_either(
    package: ModelPackage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measures compare head by head; a mixed schedule may have fewer of them in some layers."""
    attention: Any = package.model.encoder.layers[1].attention
    whole = attention.attention_map
    monkeypatch.setattr(attention, "attention_map", lambda *given: whole(*given)[:, :1])
    found = analyze(package, read_manifest(data), run="x", data="y", threshold=0.8)
    assert (found.map_layers, found.num_heads) == ([0, 2, 3], 2)
    monkeypatch.setattr(package.model.encoder.layers[0].attention, "attention_map", lambda *_: None)
    for layer in (2, 3):
        monkeypatch.setattr(
            package.model.encoder.layers[layer].attention, "attention_map", lambda *_: None
        )
    found = analyze(package, read_manifest(data), run="x", data="y", threshold=0.8)
    assert (found.map_layers, found.num_heads) == ([1], 1)
