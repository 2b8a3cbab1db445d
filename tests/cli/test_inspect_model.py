from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from asr.model.asr_model import AsrModel
from asr.model.package import load_package
from tests.decode.package import save_tiny_package

from .runs import Command


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_package(tmp_path / "model")


def test_what_a_package_holds(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    package = load_package(model)
    found = json.loads(Command(capsys)("inspect", model, "--json").out)
    weights = (model / "model.safetensors").read_bytes()
    assert found["files"]["model.safetensors"] == {
        "bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    assert found["vocab_size"] == package.tokenizer.vocab_size
    assert found["config"]["encoder"] == package.config["encoder"]
    values = sum(tensor.numel() for tensor in package.model.state_dict().values())
    assert found["weights"]["values"] == sum(found["weights"]["by_part"].values()) == values


def test_lines_for_people(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    done = Command(capsys)("inspect", model)
    assert done.code == 0
    assert "\nencoder: asr.encoder." in done.out
    assert "\nvocabulary: " in done.out
    assert " num_layers=" in done.out


def test_nothing_of_it_is_built(
    capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((model / "config.json").read_text())
    config["encoder"] |= {"_target_": "os.system", "d_model": 10**9}
    config["plugins"] = ["strange"]
    (model / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(AsrModel, "__init__", lambda *_: pytest.fail("built"))
    done = Command(capsys)("inspect", model)
    assert done.code == 0
    assert "encoder: os.system" in done.out
    assert "needs plugins, whose code runs: strange" in done.out


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_damaged_package_is_named(
    capsys: pytest.CaptureFixture[str], model: Path, name: str
) -> None:
    (model / name).write_bytes((model / name).read_bytes()[:50])
    assert f"{model / name}: not a " in Command(capsys)("inspect", model).error
    (model / name).unlink()
    assert f"{name} missing" in Command(capsys)("inspect", model).error
