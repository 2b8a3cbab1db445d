from __future__ import annotations

from pathlib import Path

import pytest

from asr.interop.onnx.export import Exported
from asr.model.package import ModelPackage, load_package
from tests.decode.package import save_tiny_package

from .cases import small


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("onnx") / "model", small()))


@pytest.fixture(scope="session")
def exported(package: ModelPackage) -> Exported:
    return Exported(package)


@pytest.fixture
def saved(exported: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.float32)
    return path
