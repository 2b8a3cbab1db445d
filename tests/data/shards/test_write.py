from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from asr.audio.read import read_audio
from asr.data.manifest import read_manifest
from asr.data.shards.read import read_shards
from asr.data.shards.write import write_shards
from asr.errors import InputError
from tests.cli.runs import files_in

from .conftest import LENGTHS_S


def silent(_: str) -> None:
    """Nothing is reported."""


def test_lhotse_reads_what_is_written(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    index = write_shards(manifest, out, shard_size=2, num_jobs=2, report=silent)
    assert (index.num_utterances, index.duration_s) == (5, sum(LENGTHS_S))
    assert len(index.cuts) == len(index.recording) == 3
    read = CutSet.from_shar(
        fields={
            "cuts": [str(out / name) for name in index.cuts],
            "recording": [str(out / name) for name in index.recording],
        }
    )
    for theirs, ours in zip(read, read_manifest(manifest), strict=True):
        assert (theirs.id, theirs.duration) == (ours.utterance_id, ours.duration_s)
        assert theirs.supervisions[0].text == ours.text
        assert theirs.supervisions[0].speaker == "anna"
        expected = read_audio(ours.audio_path, start_s=ours.start_s, duration_s=ours.duration_s)
        np.testing.assert_allclose(theirs.load_audio()[0], expected.samples, atol=2**-15)


def test_the_same_manifest_gives_the_same_bytes(manifest: Path, tmp_path: Path) -> None:
    for name, num_jobs in (("one", 1), ("two", 3)):
        write_shards(manifest, tmp_path / name, shard_size=2, num_jobs=num_jobs, report=silent)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


def test_writing_again_leaves_nothing_of_before(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write_shards(manifest, out, shard_size=1, report=silent)
    write_shards(manifest, out, shard_size=4, report=silent)
    assert len(list(out.iterdir())) == 5
    assert len(read_shards(str(out))) == 5


def test_unreadable_audio_is_named_and_left_out(manifest: Path, tmp_path: Path) -> None:
    utterances = read_manifest(manifest)
    utterances[1].audio_path.write_bytes(utterances[1].audio_path.read_bytes()[:3000])
    utterances[3].audio_path.unlink()
    said: list[str] = []
    out = tmp_path / "shards"
    index = write_shards(manifest, out, shard_size=2, report=said.append)
    assert [utterance.utterance_id for utterance in read_shards(str(out))] == [
        "u0",
        "u2",
        "some/u4",
    ]
    assert index.num_utterances == 3
    assert any(line.startswith("skipped: u1: ") and "cut short" in line for line in said)
    assert "2 skipped" in said[-1]
    with pytest.raises(InputError, match=r"^u1: .*cut short.*\(strict\)"):
        write_shards(manifest, out, strict=True, report=silent)
    with pytest.raises(InputError, match=r"holds no shards"):
        read_shards(str(out))


def test_nothing_to_write(manifest: Path, tmp_path: Path) -> None:
    for utterance in read_manifest(manifest):
        utterance.audio_path.write_bytes(b"")
    with pytest.raises(InputError, match="no usable utterance; 5 skipped"):
        write_shards(manifest, tmp_path / "shards", report=silent)


def test_other_files_are_left_alone(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds .*; name an empty folder, or one of shards"):
        write_shards(manifest, tmp_path, report=silent)
    with pytest.raises(InputError, match=r"is a file; name a folder"):
        write_shards(manifest, manifest, report=silent)
