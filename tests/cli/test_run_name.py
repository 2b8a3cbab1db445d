from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli.run_folder import run_name


def test_a_model_is_called_like_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_name(tmp_path / "probs" / "model") == "probs"
    assert run_name(tmp_path / "probs") == "probs"
    (tmp_path / "none" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "none" / "model")
    assert run_name(Path()) == "none"
