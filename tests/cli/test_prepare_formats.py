"""Manifests in, out and looked at, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from asr.text.tokenizer import Tokenizer
from tests.decode.package import write_noise

from .runs import Command, write_corpus, write_recipe


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.fixture
def nemo(tmp_path: Path) -> Path:
    rows = []
    for name, text in (("a", "HELLO"), ("b", "HELLO YOU"), ("c", "CAFÉ")):
        write_noise(tmp_path / "wav" / f"{name}.wav", 0.5)
        rows.append({"audio_filepath": f"wav/{name}.wav", "duration": 0.5, "text": text})
    rows.append({"audio_filepath": "wav/d.wav", "duration": -1, "text": "NO"})
    (tmp_path / "train.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "train.json"


def test_in_out_and_in_again(asr: Command, nemo: Path) -> None:
    done = asr("prepare", "nemo", nemo, "--out", "ours")
    assert (done.code, done.out) == (0, "")
    assert "skipped: " in done.err
    assert "line 4: d lasts -1 s; more than 0 is allowed" in done.err
    assert asr("prepare", "nemo", nemo, "--out", "no", "--strict").code == 2
    assert not Path("no").exists()
    for format, written in (("kaldi", "theirs/train"), ("nemo", "theirs/train.json")):
        done = asr(
            "prepare", "export", "ours/train.jsonl.gz", "--format", format, "--out", "theirs"
        )
        assert done.err == f"train: 3 utterances -> {written}\n"
        assert asr("prepare", format, written, "--out", format).code == 0
        before, after = (
            [
                (utterance.utterance_id, utterance.text)
                for utterance in read_manifest(f"{folder}/train.jsonl.gz")
            ]
            for folder in ("ours", format)
        )
        assert after == before


def test_a_corpus_is_looked_at_again(asr: Command, nemo: Path, tmp_path: Path) -> None:
    assert asr("prepare", "nemo", nemo, "--out", "ours").code == 0
    page = tmp_path / "ours" / "summary.html"
    first = page.read_text()
    Tokenizer.train(["hello you"], kind="char", vocab_size=30).save("tokenizer.model")
    (tmp_path / "wav" / "b.wav").write_bytes(b"")
    done = asr("prepare", "summary", "ours", "--tokenizer", "tokenizer.model")
    assert done.code == 0
    assert done.out.splitlines()[-2:] == [
        "1 changed or gone since",
        "train: 1 utterances with unknown characters 'acfé'",
    ]
    assert f"changed: {tmp_path}/wav/b.wav: has 0 bytes" in done.err
    assert "does not know a c f é" in page.read_text()
    assert "does not know" not in first
    assert "no summary.json of this version" in asr("prepare", "summary", tmp_path).error
    assert "x: cannot be read" in asr("prepare", "summary", "ours", "--tokenizer", "x").error


def test_help_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\nfrom asr.cli.main import main\n"
        "try:\n    main(['prepare', 'librispeech', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(shown.stdout.splitlines()[-1].split())
    assert "asr" in loaded
    assert not loaded & {"torch", "numpy", "lhotse", "lightning", "hydra"}


def test_training_from_shards_is_training_from_files(asr: Command, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", num_train=8)
    recipe = write_recipe(tmp_path / "tones.yaml", corpus)
    options = ("--shard-size", "3", "--out", "corpus/shards")
    done = asr("prepare", "shards", corpus / "train.jsonl.gz", *options)
    assert (done.code, done.out) == (0, "")
    assert "8 utterances, 0.00 h in 3 shards -> corpus/shards" in done.err
    rows = []
    for train in ("train", "shards"):
        words = [f"splits.train={train}", "train.trainer.max_steps=2", "--run-dir", f"run-{train}"]
        assert asr("train", recipe, *words, "--no-latency", "--json", "rows.json").code == 0
        rows.append(json.loads(Path("rows.json").read_text()))
    weights = [Path(f"run-{train}/model/model.safetensors") for train in ("train", "shards")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert rows[0][0]["wer"] == rows[1][0]["wer"]
    error = asr("train", recipe, "splits.train=audio").error
    assert "no manifest" in error
    assert "audio.jsonl.gz" in error
