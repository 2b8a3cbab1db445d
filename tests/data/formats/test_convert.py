from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.cli.prepare_formats import write_data_format
from asr.data.formats.kaldi import read_kaldi
from asr.data.formats.nemo import read_nemo_manifests
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.data.summary import Skipped
from asr.errors import InputError

Read = Callable[[list[Path]], list[RawUtterance | Skipped]]
READERS: dict[str, Read] = {"nemo": read_nemo_manifests, "kaldi": read_kaldi}


def silent(_: str) -> None:
    """No progress."""


@pytest.fixture
def manifests(tmp_path: Path, write_tone: Callable[..., Path]) -> list[Path]:
    """A split of whole files, and one of stretches too."""
    whole = write_tone(tmp_path / "a.flac")
    long = write_tone(tmp_path / "b.wav", 4.0, sample_rate_hz=8000, channels=2)
    size, long_size = whole.stat().st_size, long.stat().st_size
    dev = [CheckedUtterance("z-1", whole, 0.0, 0.5, 16_000, 1, "DON'T STOP", "z", size)]
    train = [
        CheckedUtterance("b-2", long, 2.5, 1.25, 8_000, 2, "ÜBER ALL", "b", long_size),
        CheckedUtterance("B-1", long, 0.0, 4.0, 8_000, 2, "ONE", None, long_size),
        CheckedUtterance("b-1", whole, 0.1, 0.4, 16_000, 1, "TWO", "b", size),
    ]
    paths = [tmp_path / "ours" / "dev.jsonl.gz", tmp_path / "ours" / "train.jsonl.gz"]
    for utterances, path in zip((dev, train), paths, strict=True):
        write_manifest(utterances, path)
    return paths


@pytest.mark.parametrize("format", READERS)
def test_what_goes_out_comes_back(format: str, manifests: list[Path], tmp_path: Path) -> None:
    written = write_data_format(manifests, tmp_path / "theirs", format=format, report=silent)
    out = tmp_path / "again"
    summary = prepare_utterances(
        READERS[format](written), out, source="x", settings={}, report=silent
    )
    assert summary.num_skipped == 0
    for manifest in manifests:
        before = {utterance.utterance_id: utterance for utterance in read_manifest(manifest)}
        after = {
            utterance.utterance_id: utterance for utterance in read_manifest(out / manifest.name)
        }
        assert after == before


def test_the_files_are_as_the_others_want_them(manifests: list[Path], tmp_path: Path) -> None:
    write_data_format(manifests, tmp_path / "nemo", format="nemo", report=silent)
    (row,) = map(json.loads, (tmp_path / "nemo" / "dev.json").read_text().splitlines())
    assert row == {
        "audio_filepath": str(tmp_path / "a.flac"),
        "duration": 0.5,
        "text": "DON'T STOP",
        "id": "z-1",
        "speaker": "z",
    }
    write_data_format(manifests, tmp_path / "kaldi", format="kaldi", report=silent)
    train = tmp_path / "kaldi" / "train"
    assert (train / "text").read_text() == "B-1 ONE\nb-1 TWO\nb-2 ÜBER ALL\n"
    assert (train / "utt2spk").read_text() == "B-1 B-1\nb-1 b\nb-2 b\n"
    assert (train / "spk2utt").read_text() == "B-1 B-1\nb b-1 b-2\n"
    assert (train / "segments").read_text() == "B-1 b-2 0 4\nb-1 b-1 0.1 0.5\nb-2 b-2 2.5 3.75\n"
    assert (train / "wav.scp").read_text() == f"b-1 {tmp_path}/a.flac\nb-2 {tmp_path}/b.wav\n"
    assert sorted(path.name for path in (tmp_path / "kaldi" / "dev").iterdir()) == [
        "spk2utt", "text", "utt2spk", "wav.scp"
    ]  # fmt: skip


def test_missing_audio_is_named_and_left_out(manifests: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.flac").unlink()
    lines: list[str] = []
    (written,) = write_data_format(
        manifests[1:], tmp_path / "out", format="nemo", report=lines.append
    )
    assert len(written.read_text().splitlines()) == 2
    assert lines[0].startswith(f"left out: {manifests[1]}, b-1: ")
    assert lines[-1] == f"train: 2 utterances -> {written}"
    with pytest.raises(InputError, match=r"no utterance with audio; first: .*z-1"):
        write_data_format(manifests[:1], tmp_path / "out", format="nemo", report=silent)


def test_names_that_do_not_fit(manifests: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two manifests are named dev"):
        write_data_format(
            [manifests[0], manifests[0]], tmp_path / "out", format="nemo", report=silent
        )
    utterance = CheckedUtterance("a b", tmp_path / "a.flac", 0.0, 0.5, 16_000, 1, "X", None)
    write_manifest([utterance], manifests[0])
    with pytest.raises(InputError, match="'a b': Kaldi's names hold no space"):
        write_data_format(manifests[:1], tmp_path / "out", format="kaldi", report=silent)
    assert not (tmp_path / "out").exists()
