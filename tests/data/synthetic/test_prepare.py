from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import asr.data.synthetic.prepare
from asr.audio.read import read_audio
from asr.data.manifest import read_manifest
from asr.data.summary import PrepareSummary
from asr.data.synthetic.grammar import vocabulary
from asr.data.synthetic.plan import Shard
from asr.data.synthetic.prepare import prepare_synthetic
from asr.errors import InputError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="needs the synthetic extra"
)


def prepare(out: Path, *, num_jobs: int = 2, seed: int = 5) -> PrepareSummary:
    return prepare_synthetic(
        out,
        num_train=16,
        num_dev=4,
        num_test=4,
        seed=seed,
        num_jobs=num_jobs,
        report=lambda _: None,
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    prepare(out)
    return out


@pytest.fixture
def copy_of_corpus(corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


@needs_espeak
def test_every_utterance_is_speech_of_its_length(corpus: Path) -> None:
    words = {word.upper() for word in vocabulary()}
    for split, count in (("train", 16), ("dev", 4), ("test", 4), ("test-accents", 4)):
        utterances = read_manifest(corpus / f"{split}.jsonl.gz")
        assert len(utterances) == count
        for utterance in utterances:
            waveform = read_audio(utterance.audio_path)
            assert waveform.sample_rate_hz == 16_000
            assert waveform.duration_s == utterance.duration_s
            assert set(utterance.text.split()) <= words
            assert 0.15 < utterance.duration_s / len(utterance.text.split()) < 1.2
            rms = float(np.sqrt(np.mean(waveform.samples**2)))
            assert 0.02 < rms < 0.15
            assert np.abs(waveform.samples).max() < 0.96
            assert np.count_nonzero(waveform.samples[:800]) > 400, "silence has a noise floor"


@needs_espeak
def test_two_runs_give_the_same_bytes_whatever_the_jobs(corpus: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "again", num_jobs=1)
    assert digests(tmp_path / "again") == digests(corpus)
    prepare(tmp_path / "other", seed=6)
    assert digests(tmp_path / "other").keys() == digests(corpus).keys()
    assert not set(digests(tmp_path / "other").values()) & set(digests(corpus).values())


@needs_espeak
def test_a_complete_corpus_is_left_unchanged(
    copy_of_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.stat().st_mtime_ns for file in copy_of_corpus.rglob("*")}
    monkeypatch.setattr(asr.data.synthetic.prepare, "_speak_all", None)
    summary = prepare(copy_of_corpus)
    assert {file: file.stat().st_mtime_ns for file in copy_of_corpus.rglob("*")} == before
    assert summary.splits["train"].num_utterances == 16
    assert summary.splits["test"].manifest == copy_of_corpus / "test.jsonl.gz"


@needs_espeak
@pytest.mark.parametrize("lost", ["audio/dev/000/dev-00002.flac", "test.jsonl.gz", "summary.json"])
def test_what_is_missing_is_made_again(corpus: Path, copy_of_corpus: Path, lost: str) -> None:
    (copy_of_corpus / lost).unlink()
    prepare(copy_of_corpus)
    assert digests(copy_of_corpus) == digests(corpus)


@needs_espeak
def test_an_interrupted_run_is_completed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak = asr.data.synthetic.prepare._speak_shard

    def speak_until_test(shard: Shard, out: Path) -> None:
        if shard.split == "test":
            raise KeyboardInterrupt
        speak(shard, out)

    with monkeypatch.context() as patch:
        patch.setattr(asr.data.synthetic.prepare, "_speak_shard", speak_until_test)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "out", num_jobs=1)
    assert (tmp_path / "out" / "audio" / "train" / "000").is_dir()
    assert not list((tmp_path / "out").glob("*.jsonl.gz"))
    prepare(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(corpus)


@needs_espeak
def test_another_corpus_is_not_overwritten(copy_of_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds another synthetic corpus"):
        prepare(copy_of_corpus, seed=99)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        prepare(tmp_path / "mine")


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'encore-asr\[synthetic\]'"):
        prepare(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_dev is 0"):
        prepare_synthetic(tmp_path / "out", num_dev=0)
    with pytest.raises(InputError, match="num_jobs is 0"):
        prepare_synthetic(tmp_path / "out", num_jobs=0)


def test_the_synthesizer_stays_out_of_this_process() -> None:
    code = (
        "import sys; import asr.data.synthetic.prepare; "
        "print(sorted(set(sys.modules) & {'espeakng_loader', 'lhotse'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_espeak
def test_a_worker_loads_neither_torch_nor_lhotse() -> None:
    code = (
        "import sys; import asr.data.synthetic.worker; "
        "print(sorted(set(sys.modules) & {'torch', 'lhotse', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("content", ["", " \n\n", "?!\n"])
def test_a_file_without_sentences_is_refused(tmp_path: Path, content: str) -> None:
    sentences = tmp_path / "mine.txt"
    sentences.write_text(content)
    with pytest.raises(InputError, match=r"mine\.txt: no sentences"):
        prepare_synthetic(tmp_path / "out", sentences=sentences)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_of_sentences_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.txt: cannot be read"):
        prepare_synthetic(tmp_path / "out", sentences=tmp_path / "mine.txt")


@needs_espeak
def test_own_sentences_are_spoken(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("hello  there\n\nGood-bye\n")
    prepare_synthetic(
        tmp_path / "out",
        num_train=4,
        num_dev=2,
        num_test=2,
        sentences=tmp_path / "mine.txt",
        report=lambda _: None,
    )
    texts = [utterance.text for utterance in read_manifest(tmp_path / "out" / "train.jsonl.gz")]
    assert sorted(texts) == ["GOOD-BYE", "GOOD-BYE", "HELLO THERE", "HELLO THERE"]
