from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from asr.data.corpora.librispeech import prepare_librispeech
from asr.data.corpora.parts import CORPORA, Corpus
from asr.data.manifest import read_manifest
from asr.data.summary import PrepareSummary
from asr.errors import InputError
from tests.cli.runs import files_in

from .server import Site, folder_files, md5_list, pack, part_files, publish


class Prepare:
    """Prepares a published corpus in a folder and keeps what was reported."""

    def __init__(self, corpus: Corpus, out: Path, site: Site) -> None:
        self.corpus = corpus
        self.out = out
        self.site = site
        self.lines: list[str] = []

    def __call__(
        self,
        parts: Sequence[str] | None = None,
        *,
        checksums: Path | None = None,
        keep_archives: bool = False,
        strict: bool = False,
    ) -> PrepareSummary:
        self.lines.clear()
        self.site.requests.clear()
        return prepare_librispeech(
            self.corpus,
            self.out,
            parts=parts,
            mirror=f"{self.site.url}/",
            checksums=checksums,
            keep_archives=keep_archives,
            strict=strict,
            report=self.lines.append,
        )


def archives(**files: dict[str, bytes]) -> dict[str, bytes]:
    return {part.replace("_", "-"): pack(found) for part, found in files.items()}


@pytest.fixture
def prepare(site: Site, tmp_path: Path) -> Prepare:
    found = archives(dev_clean=part_files("dev-clean"), test_clean=part_files("test-clean", seed=5))
    return Prepare(publish(site, found), tmp_path / "data" / "librispeech", site)


def test_each_part_becomes_a_manifest(prepare: Prepare) -> None:
    summary = prepare()
    assert {name: split.num_utterances for name, split in summary.splits.items()} == {
        "dev-clean": 4,
        "test-clean": 4,
    }
    assert summary.num_skipped == 0
    assert sorted(path.name for path in prepare.out.iterdir()) == [
        "LibriSpeech", "dev-clean.jsonl.gz", "summary.json", "test-clean.jsonl.gz"
    ]  # fmt: skip
    assert (prepare.out / "LibriSpeech" / "SPEAKERS.TXT").read_text() == "; who\n"
    utterance = next(iter(read_manifest(prepare.out / "test-clean.jsonl.gz")))
    assert (utterance.utterance_id, utterance.text, utterance.duration_s) == (
        "15-7-0000",
        "SOME WORDS",
        0.5,
    )
    assert utterance.audio_path == prepare.out / "LibriSpeech/test-clean/15/7/15-7-0000.flac"
    need = next(line for line in prepare.lines if "of disk" in line)
    assert need.startswith("librispeech dev-clean, test-clean: needs")
    assert prepare.lines.index(need) == 0


def test_a_second_run_does_nothing_and_says_so(prepare: Prepare) -> None:
    prepare()
    before = files_in(prepare.out)
    times = {path: path.stat().st_mtime_ns for path in prepare.out.rglob("*")}
    prepare()
    assert prepare.lines == [f"{prepare.out} is complete"]
    assert prepare.site.requests == []
    assert files_in(prepare.out) == before
    assert {path: path.stat().st_mtime_ns for path in prepare.out.rglob("*")} == times


def test_a_part_is_added_to_those_that_are_there(prepare: Prepare) -> None:
    prepare(["dev-clean"], keep_archives=True)
    assert (prepare.out / "archives" / "dev-clean.tar.gz").is_file()
    summary = prepare(["dev-clean", "test-clean"])
    assert list(summary.splits) == ["dev-clean", "test-clean"]
    assert [path for _, path, _ in prepare.site.requests] == ["/12/test-clean.tar.gz"]
    assert "reading dev-clean" not in prepare.lines


@pytest.mark.parametrize("kept", ["folder", "archive"])
def test_what_is_there_is_not_downloaded_again(prepare: Prepare, kept: str) -> None:
    prepare(["dev-clean"], keep_archives=True)
    (prepare.out / "summary.json").unlink()
    if kept == "archive":
        shutil.rmtree(prepare.out / "LibriSpeech")
    (prepare.out / ".dev-clean.unpacking" / "half").mkdir(parents=True)
    summary = prepare(["dev-clean"])
    assert prepare.site.requests == []
    assert summary.splits["dev-clean"].num_utterances == 4
    if kept == "archive":
        assert not (prepare.out / ".dev-clean.unpacking").exists()
        assert not (prepare.out / "archives").exists()


def test_audio_that_changed_since_is_named_and_read_again(prepare: Prepare) -> None:
    prepare()
    changed = prepare.out / "LibriSpeech/dev-clean/10/7/10-7-0001.flac"
    size = changed.stat().st_size
    changed.write_bytes(changed.read_bytes()[:5000])
    gone = prepare.out / "LibriSpeech/dev-clean/11/7/11-7-0000.flac"
    gone.unlink()
    summary = prepare()
    assert "dev-clean: 2 files changed after it was prepared; preparing it again" in prepare.lines
    assert f"changed: {changed}: has 5,000 bytes, {size:,} when prepared" in prepare.lines
    assert f"changed: {gone}: is gone" in prepare.lines
    assert summary.splits["dev-clean"].num_utterances == 2
    assert "reading test-clean" not in prepare.lines
    reasons = " ".join(map(str, summary.skipped))
    assert f"{changed}: not readable as audio" in reasons
    assert "no audio file for 11-7-0000" in reasons
    prepare()
    assert prepare.lines == [f"{prepare.out} is complete"]


def test_a_manifest_that_was_touched_is_written_again(prepare: Prepare) -> None:
    prepare()
    manifest = prepare.out / "dev-clean.jsonl.gz"
    before = manifest.read_bytes()
    manifest.write_bytes(before[:-20])
    prepare()
    assert manifest.read_bytes() == before
    assert any("is not as it was written; preparing dev-clean again" in o for o in prepare.lines)


def test_bad_files_of_an_archive_are_named_and_counted(site: Site, tmp_path: Path) -> None:
    files = part_files("dev-clean")
    short = "LibriSpeech/dev-clean/10/7/10-7-0000.flac"
    files[short] = files[short][: len(files[short]) // 2]
    files["LibriSpeech/dev-clean/11/7/11-7.trans.txt"] = (
        b"11-7-0001 ONE MISSING\n11-7-0009 NO AUDIO\n"
    )
    corpus = publish(site, archives(dev_clean=files))
    prepare = Prepare(corpus, tmp_path / "out", site)
    with pytest.raises(InputError, match=r"3 bad rows in .*dev-clean \(strict\)"):
        prepare(strict=True)
    assert not list((tmp_path / "out").glob("*.jsonl.gz"))
    summary = prepare()
    assert summary.splits["dev-clean"].num_utterances == 2
    skipped = {Path(row.where).name: row.reason for row in summary.skipped}
    assert "no audio file for 11-7-0009" in skipped["11-7.trans.txt, line 2"]
    assert skipped["11-7-0000.flac"] == "audio without transcript"
    assert "10-7-0000.flac: not readable as audio" in skipped["10-7.trans.txt, line 1"]
    assert "3 skipped" in prepare.lines


def test_wrong_archives_are_named_and_not_used(prepare: Prepare, tmp_path: Path) -> None:
    good = prepare.site.files["/12/dev-clean.tar.gz"]
    path = prepare.out / "archives" / "dev-clean.tar.gz"
    prepare.site.files["/12/dev-clean.tar.gz"] = good[:-1] + b"x"
    with pytest.raises(InputError, match=r"dev-clean\.tar\.gz: MD5 sum is \w{32}, expected \w{32}"):
        prepare(["dev-clean"])
    assert list(prepare.out.rglob("*dev-clean*")) == []
    path.write_bytes(b"what is this")
    with pytest.raises(InputError, match=rf"{path}: MD5 sum .*delete it to download it again"):
        prepare(["dev-clean"])
    path.unlink()
    for files, message in (
        ({"LibriSpeech/test-clean/a": b""}, "holds no LibriSpeech/dev-clean"),
        ({"LibriSpeech/../../../a": b""}, r"member 'LibriSpeech/../../../a' leads out"),
    ):
        corpus = publish(prepare.site, {"dev-clean": pack(files)})
        with pytest.raises(InputError, match=message):
            Prepare(corpus, prepare.out, prepare.site)()
        path.unlink()
        assert [file.name for file in prepare.out.iterdir()] == ["archives"]
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "data" / "a").exists()


def test_a_disk_that_is_too_small(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(prepare.out.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"needs \d+ kB of disk in .*, 1 kB are free; make room"):
        prepare()
    assert prepare.site.requests == []
    assert not prepare.out.exists()


def test_sums_and_sizes_of_a_mirror_of_its_own(prepare: Prepare, tmp_path: Path) -> None:
    sums = tmp_path / "md5sum.txt"
    sums.write_text(md5_list(prepare.corpus))
    official = Prepare(CORPORA["librispeech"], prepare.out, prepare.site)
    assert official(["dev-clean"], checksums=sums).splits["dev-clean"].num_utterances == 4
    assert [method for method, *_ in prepare.site.requests] == ["HEAD", "GET"]
    with pytest.raises(InputError, match="no sum for dev-other"):
        official(["dev-other"], checksums=sums)
    with pytest.raises(InputError, match=r"has [\d,]+ bytes, expected 346,663,984"):
        official(["test-clean"])
    sums.write_text("dev-clean.tar.gz\n")
    with pytest.raises(InputError, match=r"md5sum\.txt, line 1: not an MD5 or SHA-256 sum"):
        official(["test-clean"], checksums=sums)


def test_corpora_are_not_mixed(prepare: Prepare) -> None:
    with pytest.raises(InputError, match="has no part dev; it has dev-clean, test-clean"):
        prepare(["dev"])
    prepare(["dev-clean"])
    with pytest.raises(InputError, match="holds librispeech; name another folder for mini"):
        Prepare(CORPORA["mini_librispeech"], prepare.out, prepare.site)()


def test_real_recordings_as_an_official_archive(
    site: Site, speech_dir: Path, tmp_path: Path
) -> None:
    split = speech_dir / "librispeech" / "test-other"
    corpus = publish(site, archives(test_other=folder_files(split, "test-other")))
    site.cuts = [1_000_000]
    prepare = Prepare(corpus, tmp_path / "out", site)
    summary = prepare()
    assert [range_ for _, _, range_ in site.requests] == ["", "bytes=1000000-"]
    assert summary.splits["test-other"].num_utterances == 30
    assert summary.splits["test-other"].num_speakers == 3
    assert summary.splits["test-other"].num_words == 607
    assert summary.num_skipped == 0


@pytest.mark.parametrize("name", CORPORA)
def test_the_table_of_archives(name: str) -> None:
    corpus = CORPORA[name]
    assert set(corpus.usual_parts) <= set(corpus.parts)
    hours = {
        "train-clean-100": 100.6, "train-clean-360": 363.6, "train-other-500": 496.7,
        "dev-clean": 5.4, "dev-other": 5.3, "test-clean": 5.4, "test-other": 5.1,
        "train-clean-5": 5.0, "dev-clean-2": 2.0,
    }  # fmt: skip
    for part, archive in corpus.parts.items():
        assert archive.part == part
        assert len(bytes.fromhex(archive.checksum)) == 16
        assert archive.num_bytes is not None
        assert 55e6 < archive.num_bytes / hours[part] < 70e6  # FLAC: half of 115 MB an hour
    assert len({archive.checksum for archive in corpus.parts.values()}) == len(corpus.parts)
