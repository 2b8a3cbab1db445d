"""Labels from the column of a table to a manifest and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.data.folder import prepare_folder
from asr.data.labels import read_labels
from asr.data.manifest import read_manifest
from asr.errors import InputError
from tests.decode.package import write_noise

TABLE = "audio\ttext\tspeaker\taccent\tage\na.wav\ta\ts1\tscots\t30\nb.wav\tb\ts2\t\t\n"


def prepared(tmp_path: Path, labels: list[str]) -> Path:
    source = tmp_path / "audio"
    source.mkdir()
    for name in "ab":
        write_noise(source / f"{name}.wav", 0.3)
    (source / "t.tsv").write_text(TABLE)
    out = tmp_path / "out"
    prepare_folder(source, out, transcripts=source / "t.tsv", labels=labels, report=lambda _: None)
    (manifest,) = out.glob("*.jsonl.gz")
    return manifest


def test_columns_are_kept_and_read(tmp_path: Path) -> None:
    manifest = prepared(tmp_path, ["accent", "age"])
    ids = {utterance.text: utterance.utterance_id for utterance in read_manifest(manifest)}
    found = read_labels(manifest, ["speaker", "accent", "age"])
    assert found["speaker"] == {ids["a"]: "s1", ids["b"]: "s2"}
    assert found["accent"] == {ids["a"]: "scots", ids["b"]: "(none)"}
    assert found["age"] == {ids["a"]: "30", ids["b"]: "(none)"}
    with pytest.raises(InputError, match=r"no utterance has a label 'gender'; there are: accent, "):
        read_labels(manifest, ["gender"])


def test_columns_that_are_not_named_are_not_kept(tmp_path: Path) -> None:
    manifest = prepared(tmp_path, [])
    with pytest.raises(InputError, match="there are: speaker"):
        read_labels(manifest, ["accent"])


def test_a_label_that_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'dialect' is no further column, .*: accent, age"):
        prepared(tmp_path, ["dialect"])
    with pytest.raises(InputError, match="give --transcripts too"):
        prepare_folder(tmp_path, tmp_path / "o", labels=["accent"])


def test_values_of_other_programs_are_read(tmp_path: Path) -> None:
    cut = {
        "id": "x",
        "custom": {"offset": 3, "room": "hall"},
        "supervisions": [{"text": "a", "gender": "f", "custom": {"snr": 12.5, "nested": {}}}],
    }
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(cut) + "\n")
    found = read_labels(path, ["room", "gender", "snr"])
    assert found == {"room": {"x": "hall"}, "gender": {"x": "f"}, "snr": {"x": "12.5"}}
    with pytest.raises(InputError, match="there are: gender, room, snr"):
        read_labels(path, ["offset"])
