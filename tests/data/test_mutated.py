"""Mutated manifests and transcripts: read, or refused in one line; nothing else is ever raised."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.folder import prepare_folder
from asr.data.formats.kaldi import read_kaldi
from asr.data.formats.nemo import read_nemo_manifests
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.data.prepare import prepare_utterances
from asr.errors import InputError
from tests.mutations import mutated_text

NUM_MUTATIONS = 100


def check(read: Callable[[], object]) -> bool:
    """Whether it reads; what is refused is refused in one line."""
    refused = ""
    try:
        read()
    except InputError as error:
        refused = str(error)
    assert "\n" not in refused
    assert len(refused) < 2000
    return not refused


def test_manifests(tmp_path: Path) -> None:
    generator = random.Random(0)
    one = CheckedUtterance(
        "u1", tmp_path / "a.wav", 0.0, 1.0, 16_000, 1, "GO ON", "ann", num_bytes=7
    )
    two = CheckedUtterance("u2", tmp_path / "a.wav", 1.0, 1.0, 16_000, 1, "STÖP", None)
    path = tmp_path / "m.jsonl"
    write_manifest([one, two], path)
    data = path.read_bytes()
    num_read = 0
    for index in range(NUM_MUTATIONS):
        changed = mutated_text(data, generator)
        if index % 3 == 0:
            changed = mutated_text(gzip.compress(changed), generator)
        path.write_bytes(changed)
        num_read += check(lambda: read_manifest(path))
    assert 0 < num_read < NUM_MUTATIONS


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "nemo", "kaldi"])
def test_transcripts(tmp_path: Path, kind: str, write_tone: Callable[..., Path]) -> None:
    generator = random.Random(kind)
    write_tone(tmp_path / "audio" / "a.wav", 0.3)
    row = {"id": "u1", "audio_filepath": "a.wav", "offset": 0.1, "duration": 0.1, "text": "go on"}
    rows = [row, {**row, "id": 2, "offset": 0.2, "speaker": "ann"}]
    table, folder = tmp_path / "audio" / f"train.{kind}", tmp_path / "audio" / "train"
    data = {
        "tsv": "\n".join(("\t".join(row), *("\t".join(map(str, one.values())) for one in rows))),
        "kaldi": "u1\ta 0.1 0.2\nu2 a 0.2 0.3\n",
    }.get(kind, "\n".join(map(json.dumps, rows)))
    if kind == "kaldi":
        folder.mkdir()
        (folder / "wav.scp").write_text(f"a {tmp_path}/audio/a.wav\n")
        (folder / "text").write_text("u1 go on\nu2 stop\n")
    num_read = 0
    for index in range(NUM_MUTATIONS // 4):
        changed, out = mutated_text(data.encode(), generator), tmp_path / f"out{index}"
        if kind == "kaldi":
            name = generator.choice(("segments", "text", "wav.scp"))
            kept = (folder / name).read_bytes() if (folder / name).exists() else b""
            (folder / name).write_bytes(mutated_text(kept or data.encode(), generator))
        else:
            table.write_bytes(changed)

        def prepare(out: Path = out) -> None:
            if kind in ("kaldi", "nemo"):
                rows = read_kaldi([folder]) if kind == "kaldi" else read_nemo_manifests([table])
                prepare_utterances(rows, out, source="s", settings={}, report=lambda _: None)
            else:
                path = table.rename(table.with_suffix(f".{kind}"))
                prepare_folder(path.parent, out, transcripts=path, report=lambda _: None)

        has_read = check(prepare)
        assert has_read == (out / "summary.json").exists()
        assert has_read == bool(list(out.glob("*.jsonl.gz")))
        if kind == "kaldi":
            (folder / name).write_bytes(kept) if kept else (folder / name).unlink()
        num_read += has_read
    assert num_read < NUM_MUTATIONS // 4
