"""AN4 from an archive of its structure, from the unpacked archive and from LibriSpeech layout."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.read import read_audio
from asr.data.corpora.an4 import prepare_an4
from asr.data.corpora.parts import AN4, Archive, Corpus
from asr.data.manifest import read_manifest
from asr.data.summary import PrepareSummary
from asr.errors import InputError

from .server import Site, pack

SPEAKERS = [f"{sex}{name}" for sex in "fm" for name in ("aa", "bb", "cc", "dd", "ee", "ff", "gg")]
DEV = {"fdd", "mff"}  # every ninth in the order of names, from the fourth on
TEST_SPEAKERS = ["fzz", "myy"]


def samples_of(number: int) -> np.ndarray:
    """16 bit noise that says which utterance it is."""
    return np.random.default_rng(number).integers(-9000, 9000, 4000 + number, dtype=np.int16)


def sphere(number: int) -> bytes:
    """A SPHERE file, big-endian where ``number`` is odd."""
    buffer = io.BytesIO()
    endian = "BIG" if number % 2 else "LITTLE"
    soundfile.write(
        buffer, samples_of(number), 16_000, format="NIST", subtype="PCM_16", endian=endian
    )
    return buffer.getvalue()


def an4_files() -> dict[str, bytes]:
    """Files of an archive in AN4's structure: two utterances a speaker."""
    files = {"an4/README": b"about\n", "an4/LICENSE": b"free\n"}
    number = 0
    for split, folder, speakers in (
        ("train", "an4_clstk", SPEAKERS),
        ("test", "an4test_clstk", TEST_SPEAKERS),
    ):
        lines = []
        for speaker in speakers:
            for take in ("an251", "cen7"):
                name = f"{take}-{speaker}-b"
                files[f"an4/wav/{folder}/{speaker}/{name}.sph"] = sphere(number)
                words = "YES" if take == "an251" else "A B C TWELVE"
                marked = f"<s> {words} </s>" if split == "train" else words
                lines.append(f"{marked} ({name})\n")
                number += 1
        files[f"an4/etc/an4_{split}.transcription"] = "".join(lines).encode()
    return files


def offer(site: Site, data: bytes) -> Corpus:
    """The archive on a server, as a corpus with its SHA-256 sum."""
    site.files["/an4_sphere.tar.gz"] = data
    archive = Archive("an4_sphere", None, hashlib.sha256(data).hexdigest())
    return replace(AN4, parts={archive.part: archive})


def prepare(out: Path, corpus: Corpus, site: Site, said: list[str] | None = None) -> PrepareSummary:
    report = (lambda _: None) if said is None else said.append
    return prepare_an4(out, corpus=corpus, mirror=site.url, report=report)


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_from_archive_to_manifests(site: Site, tmp_path: Path) -> None:
    corpus = offer(site, pack(an4_files()))
    said: list[str] = []
    summary = prepare(tmp_path / "an4", corpus, site, said)
    counts = {name: split.num_utterances for name, split in summary.splits.items()}
    assert counts == {"train": 24, "dev": 4, "test": 4}
    assert {
        utterance.speaker for utterance in read_manifest(tmp_path / "an4" / "dev.jsonl.gz")
    } == DEV
    test = {
        utterance.utterance_id: utterance
        for utterance in read_manifest(tmp_path / "an4" / "test.jsonl.gz")
    }
    assert sorted(test) == ["an251-fzz-b", "an251-myy-b", "cen7-fzz-b", "cen7-myy-b"]
    assert test["cen7-myy-b"].text == "A B C TWELVE"
    assert test["cen7-myy-b"].speaker == "myy"
    assert read_manifest(tmp_path / "an4" / "train.jsonl.gz")[0].text == "YES"
    assert "train: 28 utterances, the official split has 948" in said


def test_samples_of_either_byte_order(site: Site, tmp_path: Path) -> None:
    prepare(tmp_path / "an4", offer(site, pack(an4_files())), site)
    read = 0
    for split in ("train", "dev", "test"):
        for utterance in read_manifest(tmp_path / "an4" / f"{split}.jsonl.gz"):
            waveform = read_audio(utterance.audio_path)
            number = len(waveform.samples) - 4000
            assert waveform.sample_rate_hz == 16_000
            np.testing.assert_array_equal(waveform.samples * 32768, samples_of(number))
            read += number % 2
    assert read == 16


def test_what_is_there_stays_and_a_broken_download_goes_on(site: Site, tmp_path: Path) -> None:
    data = pack(an4_files())
    corpus = offer(site, data)
    site.cuts = [len(data) // 3]
    prepare(tmp_path / "an4", corpus, site)
    assert site.gets == ["", f"bytes={len(data) // 3}-"]
    said: list[str] = []
    prepare(tmp_path / "an4", corpus, site, said)
    assert said == [f"{tmp_path / 'an4'} is complete"]
    (tmp_path / "an4" / "dev.jsonl.gz").unlink()
    prepare(tmp_path / "an4", corpus, site)
    assert (tmp_path / "an4" / "dev.jsonl.gz").is_file()
    assert len(site.gets) == 2


def test_a_wrong_sum_and_a_hostile_archive(site: Site, tmp_path: Path) -> None:
    corpus = offer(site, pack(an4_files()))
    site.files["/an4_sphere.tar.gz"] += b"x"
    with pytest.raises(InputError, match=r"an4_sphere\.tar\.gz: SHA-256 sum is \w{64}, expected"):
        prepare(tmp_path / "a", corpus, site)
    link = tarfile.TarInfo("an4/wav")
    link.type, link.linkname = tarfile.SYMTYPE, "/"
    for name, bad in (("b", pack({"an4/../../x": b"x"})), ("d", pack({}, link))):
        with pytest.raises(InputError, match="the archive is not used"):
            prepare(tmp_path / name, offer(site, bad), site)
    assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match="holds no an4; the archive is not used"):
        prepare(tmp_path / "c", offer(site, pack({"other/x": b"x"})), site)


def test_a_copy_on_disk_of_either_layout_has_the_same_speakers_in_dev(tmp_path: Path) -> None:
    unpacked = write_tree(tmp_path / "copy", an4_files()) / "an4"
    official = prepare_an4(tmp_path / "official", source=unpacked, report=lambda _: None)
    files = {}
    for split, speakers in (("train", SPEAKERS), ("test", TEST_SPEAKERS)):
        for index, _ in enumerate(speakers):
            speaker = f"{30001 + index + 1000 * (split == 'test')}"
            folder = f"{split}/{speaker}/1"
            for take in (1, 2):
                files[f"{folder}/{speaker}-1-{take:04d}.sph"] = sphere(2 * index + take)
            lines = f"{speaker}-1-0001 YES\n{speaker}-1-0002 A B\n"
            files[f"{folder}/{speaker}-1.trans.txt"] = lines.encode()
    layout = write_tree(tmp_path / "layout", files)
    other = prepare_an4(tmp_path / "other", source=layout, report=lambda _: None)
    found = {utterance.speaker for utterance in read_manifest(other.splits["dev"].manifest)}
    assert found == {str(30001 + SPEAKERS.index(name)) for name in DEV}
    assert [one.num_utterances for one in official.splits.values()] == [
        one.num_utterances for one in other.splits.values()
    ]


def test_a_wave_file_beside_the_original_is_taken(tmp_path: Path) -> None:
    root = write_tree(tmp_path, an4_files()) / "an4"
    wave = root / "wav/an4test_clstk/fzz/an251-fzz-b.wav"
    soundfile.write(wave, samples_of(3), 16_000)
    (root / "wav/an4test_clstk/myy/cen7-myy-b.sph").unlink()
    summary = prepare_an4(tmp_path / "out", source=root, report=lambda _: None)
    paths = {
        utterance.utterance_id: utterance.audio_path
        for utterance in read_manifest(summary.splits["test"].manifest)
    }
    assert paths["an251-fzz-b"] == wave
    assert [str(row) for row in summary.skipped] == [
        f"{root}/etc/an4_test.transcription, line 4: no audio file for cen7-myy-b"
    ]


def test_folders_that_are_not_an4(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing; give a folder"):
        prepare_an4(tmp_path / "out", source=tmp_path / "none")
    with pytest.raises(InputError, match="is not AN4: neither etc/"):
        prepare_an4(tmp_path / "out", source=tmp_path)
    (tmp_path / "etc").mkdir()
    with pytest.raises(InputError, match=r"has no etc/an4_train\.transcription"):
        prepare_an4(tmp_path / "out", source=tmp_path)
    (tmp_path / "etc/an4_train.transcription").write_text("<s> NO NAME </s>\nYES (an1-b)\n")
    (tmp_path / "etc/an4_test.transcription").write_text("")
    with pytest.raises(InputError, match=r"2 skipped, first: .*line 1: no name such as"):
        prepare_an4(tmp_path / "out", source=tmp_path, report=lambda _: None)


def test_the_sum_of_the_archive() -> None:
    (archive,) = AN4.parts.values()
    assert archive.file_name == "an4_sphere.tar.gz"
    assert len(bytes.fromhex(archive.checksum)) == 32


def test_the_whole_of_an4(speech_dir: Path, tmp_path: Path) -> None:
    said: list[str] = []
    summary = prepare_an4(
        tmp_path, source=speech_dir / "an4", num_jobs=2, strict=True, report=said.append
    )
    assert {name: split.num_utterances for name, split in summary.splits.items()} == {
        "train": 846, "dev": 102, "test": 130
    }  # fmt: skip
    assert summary.splits["dev"].num_speakers == 8
    assert summary.splits["test"].num_words == 773
    assert not any("official split" in line for line in said)
