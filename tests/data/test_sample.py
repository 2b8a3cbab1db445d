from __future__ import annotations

from pathlib import Path

import pytest

from asr.data.manifest import Cuts, Utterance, read_manifest, write_manifest
from asr.data.splits import hold_out, no_longer_than, spread
from asr.types import InputError


@pytest.fixture
def cuts(tmp_path: Path) -> Cuts:
    """Ten cuts of 1 to 10 s."""
    utterances = [
        Utterance(f"u{index}", tmp_path / "a.wav", 0.0, index, 8000, 1, "A", None)
        for index in range(1, 11)
    ]
    write_manifest(utterances, tmp_path / "test.jsonl")
    return read_manifest(tmp_path / "test.jsonl")


def ids(cuts: Cuts) -> list[str]:
    return [cut.id for cut in cuts]


def test_spread(cuts: Cuts) -> None:
    assert ids(spread(cuts, 1)) == ["u1"]
    assert ids(spread(cuts, 3)) == ["u1", "u4", "u7"]
    assert ids(spread(cuts, 5)) == ["u1", "u3", "u5", "u7", "u9"]
    assert ids(spread(cuts, 10)) == ids(spread(cuts, 99)) == ids(cuts)


def test_no_longer_than(cuts: Cuts) -> None:
    assert ids(no_longer_than(cuts, 3.0)) == ["u1", "u2", "u3"]
    with pytest.raises(InputError, match=r"all 10 utterances are longer than 0\.5 s"):
        no_longer_than(cuts, 0.5)


def test_hold_out(cuts: Cuts) -> None:
    rest, held_out = hold_out(cuts, 4)
    assert ids(held_out) == ["u4", "u8"]
    assert sorted(ids(rest) + ids(held_out)) == sorted(ids(cuts))
    assert not ids(hold_out(spread(cuts, 1), 4)[1])
