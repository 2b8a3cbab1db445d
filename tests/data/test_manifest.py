from __future__ import annotations

import gzip
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet

from asr.data.manifest import (
    CheckedUtterance,
    read_manifest,
    write_manifest,
)
from asr.errors import InputError


def make_utterance(path: Path, name: str = "u1") -> CheckedUtterance:
    return CheckedUtterance(name, path, 1.25, 2.5, 44_100, 2, "DON'T STOP", "anna")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl.gz"
    assert write_manifest([make_utterance(tmp_path / "a.flac")], manifest) == 1
    (utterance,) = read_manifest(manifest)
    assert (utterance.utterance_id, utterance.start_s, utterance.duration_s) == ("u1", 1.25, 2.5)
    assert utterance.text == "DON'T STOP"
    assert utterance.speaker == "anna"
    assert utterance.audio_path == tmp_path / "a.flac"


def test_lhotse_reads_what_is_written(tmp_path: Path) -> None:
    one = replace(make_utterance(tmp_path / "a.flac"), num_bytes=77)
    write_manifest([one, replace(one, utterance_id="u2", speaker=None)], tmp_path / "m.jsonl.gz")
    lines = gzip.decompress((tmp_path / "m.jsonl.gz").read_bytes()).decode().splitlines()
    cuts = CutSet.from_jsonl(tmp_path / "m.jsonl.gz")
    assert [cut.to_dict() for cut in cuts] == [json.loads(line) for line in lines]
    assert [list(cut.to_dict()) for cut in cuts] == [list(json.loads(line)) for line in lines]
    cut = cuts[0]
    assert (cut.sampling_rate, cut.num_channels, cut.num_samples) == (44_100, 1, 110_250)
    assert cut.recording.num_channels == 2
    assert cut.recording.duration == 3.75
    assert cut.num_bytes == 77


def test_bytes_depend_on_the_utterances_alone(tmp_path: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        folder = tmp_path / name
        write_manifest([make_utterance(folder / "audio" / "a.flac")], folder / f"{name}.jsonl.gz")
        manifests.append((folder / f"{name}.jsonl.gz").read_bytes())
    assert manifests[0] == manifests[1]


def test_a_corpus_can_be_moved(tmp_path: Path) -> None:
    write_manifest([make_utterance(tmp_path / "old" / "a.flac")], tmp_path / "old" / "m.jsonl")
    shutil.move(tmp_path / "old", tmp_path / "new")
    (utterance,) = read_manifest(tmp_path / "new" / "m.jsonl")
    assert utterance.audio_path == tmp_path / "new" / "a.flac"


def test_audio_elsewhere_keeps_its_path(tmp_path: Path) -> None:
    write_manifest([make_utterance(tmp_path / "a.flac")], tmp_path / "out" / "m.jsonl")
    (utterance,) = read_manifest(tmp_path / "out" / "m.jsonl")
    assert utterance.audio_path == tmp_path / "a.flac"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no manifest at"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"RIFF....WAVE", "line 1: not a lhotse cut"),
        (b'{"id": 1}\n', "line 1: not a lhotse cut"),
        (b"\xff\xfe\x00", "line 1, byte 1: not UTF-8 text"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-12], "cut short"),
    ],
)
def test_bad_manifests_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "dev.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_manifest(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_answered_with_a_manifest_in_it(make_manifest: Callable[..., Path]) -> None:
    manifest = make_manifest([0.5], audio=False)
    with pytest.raises(InputError, match=r"is a folder; .*train\.jsonl\.gz"):
        read_manifest(manifest.parent)


def test_a_cut_without_transcript_is_named(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([make_utterance(tmp_path / "a.flac")], manifest)
    record = json.loads(manifest.read_text())
    del record["supervisions"]
    manifest.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match="'u1' must have one supervision"):
        read_manifest(manifest)


def test_an_interruption_leaves_the_old_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([make_utterance(tmp_path / "a.flac")], manifest)
    before = manifest.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asr.files._to_disk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_manifest([make_utterance(tmp_path / "b.flac", "u2")], manifest)
    assert manifest.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize(("key", "value"), [("duration", -1.5), ("duration", 0), ("start", -0.25)])
def test_times_that_make_no_sense_are_named(tmp_path: Path, key: str, value: float) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([make_utterance(tmp_path / "a.flac")], manifest)
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, key: value}) + "\n")
    with pytest.raises(InputError, match=r"line 1: cut 'u1' lasts .*above 0, the start not below"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("start", "1.5", "start is '1.5'; a number of seconds is expected"),
        ("duration", True, "duration is True; a number of seconds"),
        ("duration", float("nan"), "lasts nan s"),
        ("duration", 10**4000, "lasts 1000"),
        ("duration", 1e300, "both at most 10,000,000"),
        ("id", {"a": 1}, "id is an object"),
        ("recording", {"sources": [{"source": "a\0b"}]}, "source 'a"),
        ("recording", {"sources": 5}, "not a lhotse cut with audio"),
        ("custom", {"offset": -1}, r"custom\.offset is -1; a number of bytes"),
        ("custom", {"offset": 0, "num_bytes": 2**80}, r"custom\.num_bytes is 12"),
        ("custom", [1], "not a lhotse cut with audio"),
        ("type", "Cut", "not a lhotse cut with audio"),
        ("supervisions", [{"text": 7}], "one supervision with a text"),
    ],
)
def test_values_of_another_kind_are_named(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([make_utterance(tmp_path / "a.flac")], manifest)
    record = json.loads(manifest.read_text())
    with manifest.open("a") as file:
        file.write(json.dumps({**record, "id": "u2", key: value}) + "\n")
    with pytest.raises(InputError, match=f"line 2: .*{message}") as error:
        read_manifest(manifest)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a\\ud800"}', "key 'id' holds half of a surrogate pair"),
        ("[" * 200_000, "nested too deeply"),
        ('{"start": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"id": "a",}', "column 12"),
    ],
)
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str, message: str) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(line + "\n")
    with pytest.raises(InputError, match=f"line 1: not a lhotse cut .*{message}"):
        read_manifest(manifest)


def test_two_utterances_of_one_name_are_an_error(tmp_path: Path) -> None:
    one = make_utterance(tmp_path / "a.flac")
    write_manifest([one, one], tmp_path / "m.jsonl")
    with pytest.raises(InputError, match="line 2: 'u1' was there before"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("byte", [b"\n", b" ", b"\0"])
def test_a_compressed_gigabyte_is_refused_at_once(tmp_path: Path, byte: bytes) -> None:
    (tmp_path / "m.jsonl.gz").write_bytes(64 * gzip.compress(byte * (1 << 24), 1))
    started_s = time.perf_counter()
    with pytest.raises(InputError, match=r"empty lines|longer than 4 MiB"):
        read_manifest(tmp_path / "m.jsonl.gz")
    assert time.perf_counter() - started_s < 10


def test_the_size_of_the_file_is_kept(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    known = CheckedUtterance(
        "u1", tmp_path / "a.flac", 0.0, 2.5, 44_100, 2, "GO", None, num_bytes=123
    )
    write_manifest([known, make_utterance(tmp_path / "b.flac", "u2")], manifest)
    assert [utterance.num_bytes for utterance in read_manifest(manifest)] == [123, None]
