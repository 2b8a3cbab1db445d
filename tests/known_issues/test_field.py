"""What users of other toolkits ran into, with the thread where they say so."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from asr.errors import InputError
from asr.model.package import load_package
from tests.cli.runs import Command, write_corpus, write_recipe
from tests.decode.package import save_tiny_package, write_noise


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def test_a_checkpoint_holds_no_config_objects(asr: Command, tmp_path: Path) -> None:
    """galilai-group/stable-pretraining#388, NVIDIA-NeMo/Speech#15709: "Weights only load failed"
    on resuming, for an omegaconf ListConfig in the checkpoint.
    """
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus", num_train=4))
    words = ("train.trainer.max_steps=2", "--no-latency", "--run-dir", "run")
    assert asr("train", "tones.yaml", *words).code == 0
    for name in ("last.ckpt", "best.ckpt"):
        path = tmp_path / "run" / "checkpoints" / name
        torch.load(path, weights_only=True)
        with zipfile.ZipFile(path) as archive:
            (pickled,) = (file for file in archive.namelist() if file.endswith("data.pkl"))
            assert b"omegaconf" not in archive.read(pickled)


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "asr.cli.main.main"])
def test_a_model_from_a_stranger_runs_no_code(tmp_path: Path, target: str) -> None:
    """A toolkit that builds whatever its config names can be made to run any command."""
    folder = save_tiny_package(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] = {"_target_": target, "command": f"touch {tmp_path / 'owned'}"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=target):
        load_package(folder)
    assert not (tmp_path / "owned").exists()


def test_one_file_is_decoded_without_a_manifest_or_config(asr: Command, tmp_path: Path) -> None:
    """espnet/espnet#482, k2-fsa/icefall#651: "how do I decode one wav"."""
    folder = save_tiny_package(tmp_path / "model")
    shutil.move(folder, tmp_path / "elsewhere")
    done = asr("transcribe", write_noise(tmp_path / "a.wav", 1.0), "--model", "elsewhere")
    assert done.code == 0
    assert done.out.strip()


def test_long_audio_is_not_cut_at_thirty_seconds(asr: Command, tmp_path: Path) -> None:
    """speechbrain/speechbrain#1330, NVIDIA-NeMo/Speech#5190."""
    folder = save_tiny_package(tmp_path / "model")
    audio = write_noise(tmp_path / "a.flac", 40.0)
    row = json.loads(asr("transcribe", audio, "--model", folder, "--format", "json").out)
    assert row["duration_s"] == 40.0
    assert row["words"][-1]["end_s"] > 35
