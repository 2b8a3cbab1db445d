from __future__ import annotations

import errno
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.errors import RunError
from asr.train.checkpoint import read_checkpoint, write_checkpoint
from asr.train.state import random_state, seed_all, set_random_state


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "last.ckpt"
    write_checkpoint({"step": 1}, path)

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RunError, match=r"last\.ckpt cannot be written: no space left .* MiB free"):
        write_checkpoint({"step": 2}, path)
    assert read_checkpoint(path) == {"step": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_random_states_go_through_a_weights_only_checkpoint(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float, float]:
        return (
            random.gauss(),
            float(np.random.randn()),
            float(np.random.rand()),
            float(torch.rand(())),
        )

    seed_all(3)
    draw()
    write_checkpoint({"random": random_state()}, tmp_path / "r.ckpt")
    expected = [draw(), draw()]
    seed_all(4)
    set_random_state(read_checkpoint(tmp_path / "r.ckpt")["random"])
    assert [draw(), draw()] == expected
