from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.manifest import CheckedUtterance, write_manifest
from asr.data.shards.write import write_shards
from asr.data.splits import Splits
from asr.errors import InputError


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
        Splits(folder=str(folder), **names)


def test_a_folder_in_the_place_of_a_manifest_is_none(folder: Path) -> None:
    (folder / "more.jsonl.gz").mkdir()
    with pytest.raises(InputError, match="more"):
        Splits(folder=str(folder), train="more")


def test_training_splits_are_joined(make_manifest: Callable[..., Path]) -> None:
    first = make_manifest([0.5, 0.6], audio=False)
    second = first.with_name("more.jsonl.gz")
    second.write_bytes(first.read_bytes())
    joined = Splits(folder=str(first.parent), train="train+more", dev="train")
    assert joined.names == ("train+more", "train")
    ids = [utterance.utterance_id for utterance in joined.read("train+more")]
    assert ids == ["train/u0000", "train/u0001", "more/u0000", "more/u0001"]
    utterance = CheckedUtterance("other", first.parent / "a.wav", 0.0, 1.0, 16_000, 1, "X", None)
    write_manifest([utterance], second)
    assert [utterance.utterance_id for utterance in joined.read("train+more")] == [
        "u0000",
        "u0001",
        "other",
    ]
    assert [utterance.utterance_id for utterance in joined.read("train")] == ["u0000", "u0001"]
    assert joined.digest("train+more") != joined.digest("train")
    with pytest.raises(InputError, match=r"no manifest .*less\.jsonl\.gz"):
        Splits(folder=str(first.parent), train="train+less")


@pytest.mark.parametrize("place", ["shards", "elsewhere/shards", "absolute"])
def test_shards_take_the_place_of_a_manifest(
    make_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = make_manifest([0.5, 0.6]).parent
    out = folder / ("elsewhere/shards" if place.startswith("else") else "shards")
    write_shards(folder / "train.jsonl.gz", out, report=lambda _: None)
    monkeypatch.chdir(folder)
    corpus = "audio" if place.startswith("else") else str(folder)
    train = str(out) if place == "absolute" else place
    splits = Splits(folder=corpus, train=train)
    assert [utterance.utterance_id for utterance in splits.read(train)] == ["u0000", "u0001"]
    before = splits.digest(train)
    write_shards(folder / "train.jsonl.gz", out, shard_size=1, report=lambda _: None)
    assert splits.digest(train) != before
    with pytest.raises(InputError, match="no manifest"):
        Splits(folder=corpus, train=train, test=[train])
