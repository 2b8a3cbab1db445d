from __future__ import annotations

from pathlib import Path

import pytest

from asr.data.manifest import CheckedUtterance, Utterances, read_manifest, write_manifest
from asr.data.splits import evenly_spaced, hold_out_every, no_longer_than
from asr.errors import InputError


@pytest.fixture
def utterances(tmp_path: Path) -> Utterances:
    """Ten cuts of 1 to 10 s."""
    utterances = [
        CheckedUtterance(f"u{index}", tmp_path / "a.wav", 0.0, index, 8000, 1, "A", None)
        for index in range(1, 11)
    ]
    write_manifest(utterances, tmp_path / "test.jsonl")
    return read_manifest(tmp_path / "test.jsonl")


def ids(utterances: Utterances) -> list[str]:
    return [utterance.utterance_id for utterance in utterances]


def test_spread(utterances: Utterances) -> None:
    assert ids(evenly_spaced(utterances, 1)) == ["u1"]
    assert ids(evenly_spaced(utterances, 3)) == ["u1", "u4", "u7"]
    assert ids(evenly_spaced(utterances, 5)) == ["u1", "u3", "u5", "u7", "u9"]
    assert (
        ids(evenly_spaced(utterances, 10)) == ids(evenly_spaced(utterances, 99)) == ids(utterances)
    )


def test_no_longer_than(utterances: Utterances) -> None:
    assert ids(no_longer_than(utterances, 3.0)) == ["u1", "u2", "u3"]
    with pytest.raises(InputError, match=r"all 10 utterances are longer than 0\.5 s"):
        no_longer_than(utterances, 0.5)


def test_hold_out(utterances: Utterances) -> None:
    rest, held_out = hold_out_every(utterances, 4)
    assert ids(held_out) == ["u4", "u8"]
    assert sorted(ids(rest) + ids(held_out)) == sorted(ids(utterances))
    assert not ids(hold_out_every(evenly_spaced(utterances, 1), 4)[1])
