"""A class in a package of the user's: named it works as ours do, otherwise its code never runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asr as encore
from asr.errors import InputError
from asr.model.package import load_package
from asr.model.plugins import named
from asr.report.record import RunRecord

from .runs import REPO, Command, write_corpus, write_recipe

MORE = '''

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from subprocess import Popen
from torch import nn

from asr.head.ctc import CtcHead
from asr.train.optim import AdamWSpec


class Halved(AdamWSpec):
    """Half the rate."""

    def lr(self, step, total_steps):
        return super().lr(step, total_steps) / 2


class Marks(Callback):
    """Leaves a file where training ended."""

    def __init__(self, file: str) -> None:
        self.file = file

    def on_train_end(self, trainer, pl_module):
        with open(self.file, "w") as file:
            file.write(str(pl_module.lr))


class Silent(DummyLogger):
    """Logs nothing."""


class Louder(nn.Module):
    """Waveforms times ``gain``, in training."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, waveforms_BN, lengths_B):
        return waveforms_BN * (self.gain if self.training else 1.0), lengths_B


class WideHead(CtcHead):
    """One of ours by another name."""
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a recipe, and the files of the guide beside it."""
    folder = tmp_path_factory.mktemp("plugins")
    recipe = write_recipe(folder / "tones.yaml", write_corpus(folder / "corpus"))
    recipe.write_text(f"{recipe.read_text()}\nplugins: [sharpened]\n")
    guide = (REPO / "docs" / "reuse_method.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (folder / "package").mkdir()
    (folder / "package" / "sharpened.py").write_text(code + MORE)
    (folder / "reuse").mkdir()
    (folder / "reuse" / "sharpened.yaml").write_text(config)
    (folder / "features").mkdir()
    louder = "augment:\n  _target_: sharpened.Louder\n  gain: 0.5\n"
    (folder / "features" / "augment.yaml").write_text(louder)
    return folder


@pytest.fixture(autouse=True)
def path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder / "package"))
    yield
    sys.modules.pop("sharpened", None)


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_the_method_of_the_guide_is_timed_beside_probs(asr: Command, folder: Path) -> None:
    words = ("bench", "tones.yaml", "reuse=probs,sharpened", "reuse.group_size=2")
    done = asr(*words, "metrics.latency.lengths_s=[0.5]", "--json", "rows.json")
    assert done.code == 0, done.err
    rows = json.loads((folder / "rows.json").read_text())
    found = {row["reuse"]: row["num_params"] for row in rows}
    assert found["sharpened"] == found["probs"]


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run with a class of the plugin wherever there may be one."""
    return folder / "run"


def test_every_kind_of_class_may_come_from_a_plugin(asr: Command, folder: Path, run: Path) -> None:
    words = [
        *(
            "train",
            "tones.yaml",
            "reuse=sharpened",
            "reuse.group_size=2",
            "--no-latency",
        ),
        *(
            "train.trainer.max_steps=2",
            "features=[fbank,normalize,augment]",
        ),
        *(
            "head._target_=sharpened.WideHead",
            "train.optim._target_=sharpened.Halved",
        ),
        *("train.trainer.callbacks=[{_target_:sharpened.Marks,file:mark}]",),
        *("train.trainer.loggers=[csv,{_target_:sharpened.Silent}]", "--run-dir", str(run)),
        *(
            "train.optim.decay=constant",
            "train.optim.peak_lr=0.002",
        ),
    ]
    done = asr(*words)
    assert done.code == 0, done.err
    assert (folder / "mark").read_text() == "0.001"
    assert RunRecord.load(run).reuse == "sharpened"
    assert not list((run / "logs").glob("events*"))
    assert json.loads((run / "model" / "config.json").read_text())["plugins"] == ["sharpened"]

    audio = "corpus/audio/test-0.wav"
    assert "sharpened" in sys.modules
    del sys.modules["sharpened"]
    error = asr("transcribe", audio, "--model", run).error
    assert "needs the plugin sharpened, whose code would run; if you trust it, name it" in error
    assert "--plugin sharpened" in error
    with pytest.raises(InputError, match="needs the plugin sharpened"):
        encore.load(run)
    assert "sharpened" not in sys.modules, "nothing of it was imported"
    done = asr("transcribe", audio, "--model", run, "--plugin", "sharpened")
    assert (done.code, done.err) == (0, "")
    assert encore.load(run, plugins=["sharpened"]).transcribe(audio).text + "\n" == done.out
    assert asr("transcribe", audio, "--model", run).code == 2, "named for one command alone"
    asr_evaluate = asr(
        "evaluate", "--model", run, "--data", "corpus/test.jsonl.gz", "--plugin", "x"
    )
    assert "needs the plugin sharpened" in asr_evaluate.error


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sharpened.Popen", "not a class that the plugin sharpened defines"),
        ("sharpened.Nothing", "sharpened has no Nothing"),
        ("subprocess.Popen", "only classes inside asr.head are built"),
    ],
)
def test_classes_that_are_not_built(asr: Command, target: str, message: str) -> None:
    words = (f"head._target_={target}", "--dry-run")
    assert message in asr("train", "tones.yaml", *words).error


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("[asr.head]", "plugins='asr.head': allowed: names of packages"),
        ("[a-b]", "plugins='a-b': allowed: names of packages"),
        ("3", "plugins=3: allowed: a list of names of packages"),
    ],
)
def test_names_that_are_none(asr: Command, names: str, message: str) -> None:
    assert message in asr("train", "tones.yaml", f"plugins={names}").error


def test_a_plugin_that_is_not_installed(asr: Command, folder: Path) -> None:
    words = ("plugins=[not_there]", "head._target_=not_there.Head")
    error = asr("train", "tones.yaml", *words).error
    assert "the plugin not_there cannot be imported (No module named 'not_there')" in error
    with named(["not_there"]), pytest.raises(InputError, match="no such model folder"):
        load_package(folder / "nowhere")


def test_callbacks_and_loggers_that_are_none(asr: Command) -> None:
    callbacks = "train.trainer.callbacks=[{_target_:sharpened.Silent}]"
    error = asr("train", "tones.yaml", callbacks).error
    assert "train.trainer.callbacks[0]._target_=sharpened.Silent: not a Callback" in error
    error = asr("train", "tones.yaml", "train.trainer.loggers=[paper]").error
    assert "train.trainer.loggers: 'paper'; allowed: csv, tensorboard, wandb, mlflow" in error
