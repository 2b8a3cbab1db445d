from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from asr.data.shards.read import SHARDS_FILE, read_shards
from asr.data.shards.write import write_shards
from asr.errors import InputError


@pytest.fixture
def shards(manifest: Path, tmp_path: Path) -> Path:
    write_shards(manifest, tmp_path / "shards", shard_size=2, report=lambda _: None)
    return tmp_path / "shards"


def test_cuts_say_where_their_audio_lies(shards: Path) -> None:
    utterances = read_shards(f"{shards}/")
    assert [utterance.utterance_id for utterance in utterances] == [
        "u0",
        "u1",
        "u2",
        "u3",
        "some/u4",
    ]
    assert [Path(utterance.source).name for utterance in utterances] == [
        f"recording.{number:06d}.tar" for number in (0, 0, 1, 1, 2)
    ]
    for utterance in utterances:
        assert utterance.offset is not None
        assert (
            Path(utterance.source).read_bytes()[utterance.offset : utterance.offset + 4] == b"fLaC"
        )


def test_folders_that_hold_none(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(InputError, match=r"holds no shards; `asr prepare shards` writes"):
        read_shards(str(tmp_path))
    (shards / SHARDS_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"shards\.json: not an index of shards"):
        read_shards(str(shards))


def test_an_index_that_leads_elsewhere(shards: Path) -> None:
    record = json.loads((shards / SHARDS_FILE).read_text())
    record["recording"][0] = "../audio/0.wav"
    (shards / SHARDS_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match="names files outside of the folder"):
        read_shards(str(shards))


def test_shards_that_are_not_whole(shards: Path) -> None:
    utterances = shards / "cuts.000001.jsonl.gz"
    whole = utterances.read_bytes()
    utterances.write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"cuts\.000001\.jsonl\.gz is not a manifest or was cut"):
        read_shards(str(shards))
    utterances.write_bytes(gzip.compress(gzip.decompress(whole).splitlines(keepends=True)[0]))
    with pytest.raises(InputError, match=r"4 utterances, 5 by its shards\.json"):
        read_shards(str(shards))
    utterances.unlink()
    with pytest.raises(InputError, match=r"cuts\.000001\.jsonl\.gz: cannot be read"):
        read_shards(str(shards))


def test_shards_of_another_writer(shards: Path) -> None:
    utterances = shards / "cuts.000000.jsonl.gz"
    records = [json.loads(line) for line in gzip.decompress(utterances.read_bytes()).splitlines()]
    lines = [json.dumps({**record, "custom": {}}) + "\n" for record in records]
    utterances.write_bytes(gzip.compress("".join(lines).encode()))
    with pytest.raises(InputError, match=r"cut 'u0' does not say where its audio lies"):
        read_shards(str(shards))
