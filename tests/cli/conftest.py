from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli import compose

GROUPS = {
    "encoder/small.yaml": "num_layers: 4\nd_model: 64\n",
    "encoder/large.yaml": "num_layers: 16\nd_model: 512\n",
    "features/fbank.yaml": "fbank:\n  num_mel_bins: 80\n",
    "features/specaugment.yaml": "specaugment:\n  num_freq_masks: 2\n",
    "reuse/none.yaml": "fused: true\n",
    "reuse/probs.yaml": "group_size: 4\n",
    "train/optim.yaml": "optim:\n  lr: 0.001\n  betas: [0.9, 0.98]\n  options: {}\n",
    "train/trainer.yaml": "trainer:\n  max_steps: 100\n  precision: fp32\n",
}

RECIPE = """\
defaults:
  - features: [fbank, specaugment]
  - encoder: small
  - reuse: none
  - train: [optim, trainer]
  - _self_
seed: 3
splits:
  train: train.jsonl.gz
encoder:
  num_layers: 8
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe in a folder of its own, over a small set of config groups."""
    configs = tmp_path / "project" / "configs"
    for name, text in GROUPS.items():
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        (configs / name).write_text(text)
    monkeypatch.setattr(compose, "locate_configs", lambda: configs)
    path = tmp_path / "my recipes" / "tiny.yaml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path
