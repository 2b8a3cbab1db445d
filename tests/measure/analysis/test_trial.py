from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from asr.data.manifest import read_manifest
from asr.decode.greedy import GreedyDecoder
from asr.errors import InputError
from asr.measure.analysis.trial import PROBS, Trial, is_grouped, with_groups, with_leaders
from asr.measure.calibration import CalibrationBatches
from asr.model.build import build
from asr.model.convert import convert
from asr.model.package import ModelPackage
from asr.reuse.head_order import aligned_orders

METHODS: dict[str, dict[str, Any]] = {
    "probs": PROBS,
    "heads": {"_target_": "asr.reuse.heads.ReuseHeads", "num_reused": 1},
    "scores": {"_target_": "asr.reuse.scores.ReuseScores"},
    "kv": {"_target_": "asr.reuse.kv.ReuseKeysValues"},
    "context": {"_target_": "asr.reuse.context.ReuseContext"},
}


@pytest.fixture(scope="module")
def calibration(full_package: ModelPackage, data: Path) -> CalibrationBatches:
    return CalibrationBatches.read(full_package, read_manifest(data))


def loss_of(package: ModelPackage, calibration: CalibrationBatches, reuse: dict[str, Any]) -> float:
    """Of a model that is really converted."""
    similarity = calibration.head_similarity(package.model)
    orders = aligned_orders(build(reuse, "reuse"), similarity, package.model.encoder.num_heads)
    found = convert(package.model, {**package.config, "reuse": reuse}, orders=orders).model
    return calibration.test(found, package.tokenizer, GreedyDecoder()).loss


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_is_what_a_converted_model_loses(
    full_package: ModelPackage, calibration: CalibrationBatches, method: str
) -> None:
    reuse = METHODS[method]
    similarity = calibration.head_similarity(full_package.model)
    trial = Trial(full_package.model, calibration, reuse, similarity)
    assert (trial.method, trial.num_layers, len(trial.pairs)) == (method, 4, 6)
    full = calibration.test(full_package.model, full_package.tokenizer, GreedyDecoder()).loss
    assert trial.full_loss == pytest.approx(full)
    said: list[str] = []
    loss_LL = trial.losses_of_pairs(said.append)
    assert said[-1] == "tried 6 pairs on 7 of 7 utterances"
    for leader, follower, leaders in ((0, 1, [0, 0, 2, 3]), (1, 3, [0, 1, 2, 1])):
        expected = loss_of(full_package, calibration, with_leaders(reuse, leaders))
        assert float(loss_LL[leader, follower]) == pytest.approx(expected, rel=1e-4)
    tried = {(leader, m) for leader in range(4) for m in range(4) if leader < m}
    assert tried == {
        (row, column)
        for row in range(4)
        for column in range(4)
        if not math.isnan(float(loss_LL[row, column]))
    }
    whole, none = trial.losses_of_groups([[1, 3], [1, 1, 1, 1]])
    expected = loss_of(full_package, calibration, with_groups(reuse, [1, 3]))
    assert whole == pytest.approx(expected, rel=1e-4)
    assert none == pytest.approx(full)


def test_the_price_of_a_trial_counts_the_layers_that_run(
    full_package: ModelPackage, calibration: CalibrationBatches
) -> None:
    similarity = calibration.head_similarity(full_package.model)
    trial = Trial(full_package.model, calibration, PROBS, similarity)
    assert trial.pass_s > 0
    layers = 3 * 4 + 2 * 3 + 1 * 2  # followers of each leader, times the layers from it on
    assert trial.pairs_s() == pytest.approx(trial.pass_s * (1 + layers / 4))


def test_a_model_that_reuses_already(
    package: ModelPackage, full_package: ModelPackage, calibration: CalibrationBatches
) -> None:
    similarity = calibration.head_similarity(full_package.model)
    with pytest.raises(InputError, match="layer 0 of that model has no full attention"):
        Trial(package.model, calibration, PROBS, similarity)


def test_a_method_keeps_its_settings_on_another_grouping() -> None:
    config = {**PROBS, "groups": None, "group_size": 4, "pattern": None, "leaders": None}
    assert is_grouped({**config, "map_dtype": None})
    assert not is_grouped(PROBS)
    groups = with_groups({**config, "map_dtype": "float16"}, [1, 3])
    assert groups == {**config, "group_size": None, "groups": [1, 3], "map_dtype": "float16"}
    leaders = with_leaders(groups, [0, 0, 1])
    assert (leaders["groups"], leaders["leaders"]) == (None, [0, 0, 1])
