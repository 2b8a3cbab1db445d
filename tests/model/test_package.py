"""The model package: what goes in comes out, and nothing in a damaged one passes unnoticed."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from asr.errors import InputError, RunError
from asr.model.package import ModelPackage, load_package, save_package
from asr.text.tokenizer import Tokenizer
from tests.model.configs import CONFIG, changed, random_waveforms, tiny_model, without

FILES = {"model.safetensors", "config.json", "tokenizer.model", "README.md"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat", "a dog"], kind="char", vocab_size=30)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("package") / "runs" / "model"
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    config = CONFIG | {"train": {"optim": {"lr": 1}}, "data": {}}
    save_package(folder, model=model, tokenizer=tokenizer, config=config, card="# A card\n")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refused(folder: Path, name: str, message: str | None = None) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_package(folder)
    assert name in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_round_trip_is_exact(saved: Path, tokenizer: Tokenizer) -> None:
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    waveforms = random_waveforms([4000, 2500])

    package = load_package(saved)

    assert isinstance(package, ModelPackage)
    assert not any(module.training for module in package.model.modules())
    with torch.no_grad():
        expected_BTV, expected_B = model(*waveforms)
        found_BTV, found_B = package.model(*waveforms)
    assert torch.equal(found_BTV, expected_BTV)
    assert torch.equal(found_B, expected_B)
    assert package.model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(package.model.state_dict()[name], tensor)
    assert package.tokenizer.to_bytes() == tokenizer.to_bytes()
    assert package.normalizer("The CAT, sat.") == "the cat sat"
    assert package.folder == saved
    assert package.config == CONFIG


def test_a_package_of_a_package_is_the_same(saved: Path, tmp_path: Path) -> None:
    package = load_package(saved)

    save_package(
        tmp_path,
        model=package.model,
        tokenizer=package.tokenizer,
        config=package.config,
        card="# A card\n",
    )

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_a_package_is_replaced_whole_or_not_at_all(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = load_package(saved)
    folder = tmp_path / "model"

    def save(card: str) -> None:
        save_package(
            folder,
            model=package.model,
            tokenizer=package.tokenizer,
            config=package.config,
            card=card,
        )

    save("old")
    (folder / "left.over").touch()
    save("new")
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "README.md").read_text() == "new"

    def break_off(_: Tokenizer, path: Path) -> None:
        assert path.parent != folder
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Tokenizer, "save", break_off)
    with pytest.raises(RunError, match=r"model cannot be written: no space left on the disk \("):
        save("never")
    assert (folder / "README.md").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_of_a_package(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == FILES
    assert (saved / "README.md").read_text(encoding="utf-8") == "# A card\n"
    assert json.loads((saved / "config.json").read_text(encoding="utf-8")) == {"schema": 1} | CONFIG
    assert load_file(saved / "model.safetensors").keys() == tiny_model().state_dict().keys()


def test_saving_a_model_in_training_leaves_it_in_training(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    model = tiny_model(vocab_size=tokenizer.vocab_size).train()

    save_package(tmp_path, model=model, tokenizer=tokenizer, config=CONFIG, card="")

    assert model.training


def test_the_card_may_be_missing(folder: Path) -> None:
    (folder / "README.md").unlink()

    assert load_package(folder).model is not None


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere", "no such model folder")


def test_a_file_of_a_package_stands_for_its_folder(folder: Path) -> None:
    assert load_package(folder / "config.json").folder == folder


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    refused(folder, name, "missing")


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    for name in FILES - {"README.md"}:
        refused(tmp_path, name, "missing")


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text"])
def test_a_damaged_file_is_named(folder: Path, name: str, damage: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(
        {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "noise": bytes(range(256)) * 8,
            "text": b"not what was expected\n",
        }[damage]
    )

    refused(folder, name)


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle in a model folder was loaded",))


@pytest.mark.parametrize("way", ["pickle", "torch", "torch-legacy"])
def test_a_pickle_is_refused_unread(folder: Path, way: str) -> None:
    path = folder / "model.safetensors"
    if way == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save(Evil(), path, _use_new_zipfile_serialization=way == "torch")

    refused(folder, "model.safetensors", "not a safetensors file")


def rewrite_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, folder / "model.safetensors")


def test_weights_of_another_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["head.project.bias"] = torch.zeros(3)
    rewrite_weights(folder, weights)

    refused(folder, "model.safetensors", r"1 tensors differ, first head\.project\.bias")


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_of_another_model(folder: Path, change: str) -> None:
    weights = load_file(folder / "model.safetensors")
    if change == "missing":
        del weights["encoder.layers.0.norm.weight"]
    else:
        weights["encoder.layers.1.attention.scores.query.weight"] = torch.zeros(16, 16)
    rewrite_weights(folder, weights)

    refused(folder, "model.safetensors", "weights do not fit")


def test_a_config_of_another_schedule(folder: Path) -> None:
    config = changed("reuse", {"_target_": "asr.reuse.none.NoReuse"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    refused(folder, "model.safetensors", "weights do not fit")


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    Tokenizer.train(["abba"], kind="char", vocab_size=30).save(folder / "tokenizer.model")

    refused(folder, "model.safetensors", r"first head\.project")


@pytest.mark.parametrize("config", [None, [], 5, "config", {}, {"encoder": {}}], ids=str)
def test_a_config_that_is_none(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    refused(folder, "config.json", "lacks .*features")


@pytest.mark.parametrize(
    "config",
    [
        without("text.normalize"),
        changed("text", None),
        changed("text", []),
        changed("features", None),
        changed("encoder", None),
        changed("encoder.d_model", "16"),
        changed("encoder.zzz", 1),
        changed("encoder._target_", "os.system"),
        changed("text.normalize._target_", "os.system"),
        changed("text.normalize.case", "title"),
        changed("features.fbank.sample_rate_hz", "8000"),
    ],
    ids=lambda config: "",
)
def test_a_mistake_inside_the_config_is_an_input_error(
    folder: Path, config: dict[str, Any]
) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    with pytest.raises(InputError) as caught:
        load_package(folder)
    assert "\n" not in str(caught.value)


def test_a_package_of_before_schemas_loads(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")

    assert load_package(folder).config == CONFIG


@pytest.mark.parametrize("version", [2, 10**30])
def test_a_package_of_a_newer_version_is_refused(folder: Path, version: int) -> None:
    (folder / "config.json").write_text(json.dumps({"schema": version}), encoding="utf-8")

    refused(folder, "config.json", rf"of schema {version}, .* reads up to 1; upgrade encore-asr")


@pytest.mark.parametrize("version", [0, -1, 1.5, True, "1", None, [1]], ids=str)
def test_a_schema_that_is_no_version(folder: Path, version: object) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"schema": version}), encoding="utf-8")

    refused(folder, "config.json", "schema=.*; allowed: 1 to 1")


def test_a_config_nested_without_end(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")

    refused(folder, "config.json", "not a JSON config")


def test_loading_imports_neither_lightning_nor_lhotse(saved: Path) -> None:
    """The commands that only use a model start fast and without what training needs."""
    code = (
        "import sys; from pathlib import Path; from asr.model.package import load_package; "
        f"load_package(Path({str(saved)!r})); "
        "print([m for m in ('lightning', 'lhotse', 'hydra', 'jiwer') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
