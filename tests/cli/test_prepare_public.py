"""Corpora from servers and recipes, as a person types it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr.data.corpora.parts import CORPORA
from asr.data.manifest import read_manifest
from tests.data.corpora.server import Site, folder_files, md5_list, pack, part_files, publish, serve
from tests.data.corpora.test_an4 import an4_files
from tests.data.corpora.test_sounds import MUSAN, files_of

from .runs import Command, environment, files_in, write_corpus, write_recipe


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("asr.data.corpora.download.PAUSES_S", (0.0, 0.0))
    with serve(Site()) as running:
        yield running


def offer(site: Site, folder: Path, archives: dict[str, bytes], resource: int = 12) -> list[str]:
    """Publish the archives; the options that find them."""
    corpus = publish(site, archives, resource)
    (folder / "md5sum.txt").write_text(md5_list(corpus))
    return ["--mirror", site.url, "--checksums", str(folder / "md5sum.txt")]


def test_librispeech_by_the_names_of_its_parts(asr: Command, site: Site, tmp_path: Path) -> None:
    found = {
        part: pack(part_files(part, seed=seed))
        for part, seed in (("dev-clean", 0), ("test-other", 9))
    }
    options = offer(site, tmp_path, found)
    words = ["prepare", "librispeech", *options, "--part", "dev-clean", "--part", "test-other"]
    done = asr(*words)
    assert (done.code, done.out) == (0, "")
    out = tmp_path / "data" / "librispeech"
    assert {path.name for path in out.iterdir()} == {
        *("LibriSpeech", "dev-clean.jsonl.gz", "test-other.jsonl.gz"),
        *("summary.json", "summary.html"),
    }
    assert "needs" in done.err.splitlines()[0]
    assert "dev-clean: 4 utterances" in done.err
    before = files_in(out)
    again = asr(*words)
    assert again.err == "data/librispeech is complete\n"
    assert files_in(out) == before


def test_mini_librispeech_whole(asr: Command, site: Site, tmp_path: Path) -> None:
    parts = CORPORA["mini_librispeech"].parts
    found = {part: pack(part_files(part, seed=len(part))) for part in parts}
    options = offer(site, tmp_path, found, resource=31)
    assert (
        asr("prepare", "mini_librispeech", *options, "--out", "mini", "--keep-archives").code == 0
    )
    assert {path.name for path in Path("mini/archives").iterdir()} == {
        *("train-clean-5.tar.gz", "dev-clean-2.tar.gz")
    }
    assert len(read_manifest("mini/train-clean-5.jsonl.gz")) == 4


def test_all_means_every_part(asr: Command, site: Site, tmp_path: Path) -> None:
    parts = list(CORPORA["librispeech"].parts)
    found = {part: pack(part_files(part, num_speakers=1, seed=n)) for n, part in enumerate(parts)}
    options = offer(site, tmp_path, found)
    assert asr("prepare", "librispeech", *options, "--part", "all").code == 0
    assert len(list(Path("data/librispeech").glob("*.jsonl.gz"))) == len(parts) == 7


def test_words_that_are_not_known(asr: Command, tmp_path: Path) -> None:
    error = asr("prepare", "librispeech", "--part", "train-clean-10").error
    assert "has no part train-clean-10; did you mean train-clean-100" in error
    assert error.endswith("dev-clean, dev-other, test-clean, test-other, or all\n")
    error = asr("prepare", "lhotse", "tedlum", "x").error
    assert "no recipe for tedlum; did you mean tedlium" in error
    assert ", commonvoice, " in error
    assert "write NAME=VALUE" in asr("prepare", "lhotse", "tedlium", "x", "--set", "a").error
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_sum_is_one_line(asr: Command, site: Site, tmp_path: Path) -> None:
    options = offer(site, tmp_path, {"dev-clean": pack(part_files("dev-clean"))})
    site.files["/12/dev-clean.tar.gz"] += b"more"
    done = asr("prepare", "librispeech", *options, "--part", "dev-clean")
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("asr prepare: error: dev-clean.tar.gz: MD5 sum is ")
    assert "expected" in last


def test_killed_in_the_middle_of_a_download(site: Site, asr: Command, tmp_path: Path) -> None:
    data = pack(part_files("dev-clean", num_speakers=12))
    options = offer(site, tmp_path, {"dev-clean": data})
    site.cuts, site.hold = [len(data) // 2], threading.Event()
    words = ["prepare", "librispeech", *options, "--part", "dev-clean"]
    part = tmp_path / "data" / "librispeech" / "archives" / "dev-clean.tar.gz.part"
    process = subprocess.Popen(
        [sys.executable, "-m", "asr", *words],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: part.is_file() and part.stat().st_size > 0)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    size = part.stat().st_size
    assert 0 < size <= len(data) // 2
    site.hold.set()
    assert asr(*words).code == 0
    assert site.gets == ["", f"bytes={size}-"]
    assert len(read_manifest("data/librispeech/dev-clean.jsonl.gz")) == 24


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.02)


def test_a_recipe_of_lhotse(asr: Command, tmp_path: Path, speech_dir: Path) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech" / "dev-clean").symlink_to(speech_dir / "librispeech" / "dev")
    done = asr(
        "prepare", "lhotse", "librispeech", "LibriSpeech", "--set", "normalize_text=lower",
        "--set", 'dataset_parts=["dev-clean"]', "--out", "here",
    )  # fmt: skip
    assert done.code == 0
    utterances = list(read_manifest("here/dev-clean.jsonl.gz"))
    assert len(utterances) == 20
    assert all(utterance.text.islower() for utterance in utterances)


def test_real_recordings_from_archive_to_page(
    asr: Command, site: Site, speech_dir: Path, tmp_path: Path
) -> None:
    split = speech_dir / "librispeech" / "test-other"
    options = offer(site, tmp_path, {"test-other": pack(folder_files(split, "test-other"))})
    assert asr("prepare", "librispeech", *options, "--part", "test-other").code == 0
    shown = asr("prepare", "summary", "data/librispeech")
    assert shown.out.startswith("test-other: 30 utterances, 0.06 h, 607 words, 3 speakers")


def test_noises_and_rooms(asr: Command, site: Site, tmp_path: Path) -> None:
    data = pack(files_of("musan", MUSAN))
    site.files["/17/musan.tar.gz"] = data
    sums = tmp_path / "md5sum.txt"
    sums.write_text(f"{hashlib.md5(data).hexdigest()}  musan.tar.gz\n")
    done = asr("prepare", "musan", "--mirror", site.url, "--checksums", sums)
    assert (done.code, done.out) == (0, "")
    assert "noise: 2 utterances" in done.err
    page = Path("data/musan/summary.html").read_text()
    assert "speech" in page
    corpus = write_corpus(tmp_path / "corpus", num_train=6)
    recipe = write_recipe(tmp_path / "tones.yaml", corpus)
    recipe.write_text(recipe.read_text().replace("loader]", "loader, reverb, noise]"))
    options = ("train.trainer.max_steps=1", "--no-latency")
    for run, words in (
        ("dry", ()),
        ("noisy", ("data.noise.folder=data/musan", "data.noise.probability=1")),
        ("roomy", ("data.reverb.folder=data/musan", "data.reverb.parts=[music]")),
    ):
        assert asr("train", recipe, *words, *options, "--run-dir", run).code == 0
    weights = {Path(run, "model/model.safetensors").read_bytes() for run in ("dry", "noisy")}
    assert len(weights) == 2
    error = asr("train", recipe, "data.reverb.folder=data/musan").error
    assert (
        "data.reverb.folder: data/musan has no manifest simulated.jsonl.gz; it has music" in error
    )


def test_an4_from_its_archive_and_from_a_copy(asr: Command, site: Site, tmp_path: Path) -> None:
    data = pack(an4_files())
    site.files["/an4_sphere.tar.gz"] = data
    sums = tmp_path / "sha256sum.txt"
    sums.write_text(f"{hashlib.sha256(data).hexdigest()}  an4_sphere.tar.gz\n")
    words = ["prepare", "an4", "--mirror", site.url, "--checksums", str(sums)]
    done = asr(*words)
    assert (done.code, done.out) == (0, "")
    assert "dev: 4 utterances" in done.err
    assert Path("data/an4/summary.html").is_file()
    assert asr(*words).err == "data/an4 is complete\n"
    copy = asr("prepare", "an4", "--source", "data/an4/an4", "--out", "copy")
    assert copy.code == 0
    assert [utterance.utterance_id for utterance in read_manifest("copy/dev.jsonl.gz")] == [
        utterance.utterance_id for utterance in read_manifest("data/an4/dev.jsonl.gz")
    ]
    wrong = asr("prepare", "an4", "--source", tmp_path)
    assert wrong.code == 2
    assert "is not AN4: neither etc/an4_train.transcription" in wrong.error
