from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asr.data.check import find_changed
from asr.data.manifest import CheckedUtterance, write_manifest


def test_gone_and_resized_files_are_named_once(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    paths = [write_tone(tmp_path / f"{name}.wav") for name in "abc"]
    utterances = [
        CheckedUtterance(f"{path.stem}{part}", path, part / 4, 0.25, 16_000, 1, "X", None, size)
        for path, size in zip(paths, (16_044, 16_044, None), strict=True)
        for part in (0, 1)
    ]
    manifest = tmp_path / "train.jsonl"
    write_manifest(utterances, manifest)
    assert find_changed(manifest) == []
    paths[0].unlink()
    for path in paths[1:]:
        path.write_bytes(b"short")
    assert [(row.where, row.reason) for row in find_changed(manifest)] == [
        (str(paths[0]), "is gone"),
        (str(paths[1]), "has 5 bytes, 16,044 when prepared"),
    ]
