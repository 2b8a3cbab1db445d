from __future__ import annotations

from pathlib import Path

import pytest

from asr.data.splits import Splits
from asr.types import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Manifests of three splits; what is in them is not read."""
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl.gz").touch()
    return tmp_path


def test_every_split_is_named_once_training_first(folder: Path) -> None:
    splits = Splits(folder=str(folder), train="train", dev="dev", test=["test", "dev", "train"])
    assert splits.names == ("train", "dev", "test")
    assert splits.manifest("dev") == folder / "dev.jsonl.gz"


def test_training_alone_is_enough(folder: Path) -> None:
    assert Splits(folder=str(folder), train="train").names == ("train",)


def test_a_relative_folder_starts_where_the_user_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert Splits(folder=folder.name, train="train").names == ("train",)
    with pytest.raises(InputError):
        Splits(folder=f"{folder.name}/{folder.name}", train="train")


@pytest.mark.parametrize(
    "names",
    [
        {"train": "trian"},
        {"train": "train", "dev": "trian"},
        {"train": "train", "test": ["test", "trian"]},
    ],
)
def test_a_split_without_a_manifest_is_named(folder: Path, names: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"splits: no manifest .*trian\.jsonl\.gz; `asr prepare`"):
        Splits(folder=str(folder), **names)  # type: ignore[arg-type]  # any of the three


def test_a_folder_in_the_place_of_a_manifest_is_none(folder: Path) -> None:
    (folder / "more.jsonl.gz").mkdir()
    with pytest.raises(InputError, match="more"):
        Splits(folder=str(folder), train="more")
