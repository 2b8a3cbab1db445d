from __future__ import annotations

from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from asr.measure.analysis.analyze import analyze
from asr.measure.analysis.trial import PROBS
from asr.model.package import ModelPackage, load_package
from asr.report.analysis import Analysis
from tests.decode.package import save_tiny_package
from tests.model.configs import CONFIG

from .cases import write_data


@pytest.fixture(scope="package")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Four layers in two groups, random weights."""
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="package")
def full_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Four layers without reuse, random weights."""
    config = {**CONFIG, "reuse": {"_target_": "asr.reuse.none.NoReuse"}}
    return load_package(save_tiny_package(tmp_path_factory.mktemp("full") / "model", config))


@pytest.fixture(scope="package")
def tried(full_package: ModelPackage, data: Path) -> Analysis:
    """What conversion to shared maps does to the model without reuse."""
    utterances = read_manifest(data)
    return analyze(full_package, utterances, run="full", data="test", threshold=0.0, reuse=PROBS)


@pytest.fixture(scope="package")
def analysis(package: ModelPackage, data: Path) -> Analysis:
    return analyze(package, read_manifest(data), run="tiny", data="test", threshold=0.8)
