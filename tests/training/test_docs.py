"""The commands of the README and the guides run, at small size, in their order."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli.main import main
from tests.contracts.test_readme import commands_in
from tests.contracts.tree import REPO

pytestmark = pytest.mark.training

GUIDES = ("own_data", "recipes", "transcribing", "schedules", "records")
ELSEWHERE = {
    "the network": r"prepare (an4|librispeech|mini_librispeech|musan|rirs|lhotse)",
    "a cluster, or several devices": r"launcher|devices=|sbatch|torchrun",
    "other libraries": r"--against",
    "a script, tested by itself": r"^bash",
    "words in place of arguments": r" [A-Z]{3,}\b",
    "a conversion of a quick start with groups that it has": r"asr train recipes/finetune",
}
SMALL = {
    "prepare synthetic": "--num-train 40 --num-dev 6 --num-test 6",
    "train": "train.trainer.max_steps=2 train.trainer.max_epochs=null data.loader.num_workers=0",
    "compare": "train.trainer.max_steps=2 metrics.latency.lengths_s=[1] metrics.latency.repeats=3",
    "bench": "encoder.num_layers=4 encoder.d_model=32 encoder.ffn_dim=64 encoder.num_heads=2 "
    "encoder.subsampling_channels=32 metrics.latency.lengths_s=[1] metrics.latency.repeats=3",
    "evaluate": "--lengths 1 --repeats 3",
    "export": "--lengths 1 --repeats 3",
}


def shown() -> list[list[str]]:
    """The commands of all pages, each once."""
    pages = [REPO / "docs" / f"{name}.md" for name in GUIDES] + [REPO / "README.md"]
    found = {tuple(words): None for page in pages for words in commands_in(page)}
    return [list(words) for words in found if not elsewhere(words)]


def elsewhere(words: list[str] | tuple[str, ...]) -> str:
    """Why a command is not run here; empty where it is."""
    line = " ".join(words)
    short = len(words) < 3 or line in {"asr --version"} or "…" in line
    reasons = [why for why, pattern in ELSEWHERE.items() if re.search(pattern, line)]
    return reasons[0] if reasons else "not a whole command" if short else ""


def small(words: list[str]) -> list[str]:
    """The arguments of a command that does the same with little work."""
    rest = words[1:]
    if rest[0] == "compare":
        rest = [re.sub(r"^(reuse=none,probs).*", r"\1", word) for word in rest]
        rest = ["seeds=1" if word.startswith("seeds=") else word for word in rest]
    if rest[0] == "train":
        rest = [word for word in rest if not word.startswith("train.trainer.max_steps")]
    for verb, added in SMALL.items():
        if " ".join(rest).startswith(verb) and "--resume" not in rest:
            rest += added.split()
    if rest[0] == "train" and "--dry-run" not in rest and "--resume" not in rest:
        rest.append("--no-latency")
    return [str(REPO / word) if word.startswith("recipes/") else word for word in rest]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages assume: recordings, tables, and a trained model."""
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "synthetic", *SMALL["prepare synthetic"].split()]) == 0
    corpus = tmp_path / "data" / "synthetic"
    (tmp_path / "data" / "an4").symlink_to(corpus)  # as good as AN4 for a few steps
    sounds = sorted(corpus.rglob("*.flac"))[:30]
    speech = tmp_path / "my_speech"
    speech.mkdir()
    rows = ["audio\ttext"]
    for number, path in enumerate(sounds):
        shutil.copy(path, speech / f"{number}.flac")
        rows.append(f"{number}.flac\tA PLAIN SENTENCE OF WORDS {'AGAIN ' * (number % 3)}")
    (speech / "transcripts.tsv").write_text("\n".join(rows) + "\n")
    samples, rate = soundfile.read(sounds[0])
    soundfile.write("talk.mp3", np.tile(samples, 3), rate)
    chapter = tmp_path / "my_corpus" / "train" / "1" / "2"
    chapter.mkdir(parents=True)
    shutil.copy(sounds[0], chapter / "1-2-0001.flac")
    (chapter / "1-2.trans.txt").write_text("1-2-0001 A PLAIN SENTENCE\n")
    nemo, kaldi = tmp_path / "my_nemo", tmp_path / "my_kaldi"
    for split in ("train", "dev"):
        nemo.mkdir(exist_ok=True)
        (nemo / f"{split}.json").write_text(
            f'{{"audio_filepath": "{sounds[0]}", "duration": null, "text": "a b"}}\n'
        )
        (kaldi / split).mkdir(parents=True)
        (kaldi / split / "wav.scp").write_text(f"u {sounds[0]}\n")
        (kaldi / split / "text").write_text("u A B\n")
        (kaldi / split / "utt2spk").write_text("u s\n")
    recipe = str(REPO / "recipes" / "quickstart.yaml")
    for name in ("parent", "my_run"):
        train = ["train", recipe, "--run-dir", f"runs/{name}", "splits.test=[test]", "--no-latency"]
        assert main([*train, *SMALL["train"].split()]) == 0
    return tmp_path


def test_every_command_runs(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = shown()
    assert len(commands) > 15
    ran = 0
    for words in commands:
        arguments = small(words)
        if "--run-dir" in arguments:  # the world has this run already
            shutil.rmtree(arguments[arguments.index("--run-dir") + 1], ignore_errors=True)
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
        assert code == 0, f"{' '.join(words)}: {code}\n{capsys.readouterr().err[-1500:]}"
        ran += 1
    assert ran == len(commands)
