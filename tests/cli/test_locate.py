from __future__ import annotations

from pathlib import Path

import pytest

import asr
from asr.cli.recipe import locate_configs

REPO = Path(__file__).parents[2]


def test_a_checkout_has_its_configs_beside_the_package() -> None:
    assert locate_configs() == REPO / "configs"
    assert (locate_configs() / "encoder").is_dir()


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "asr"
    (package / "configs").mkdir(parents=True)
    (package.parent / "configs").mkdir()  # of some other distribution
    monkeypatch.setattr(asr, "__file__", str(package / "__init__.py"))
    assert locate_configs() == package / "configs"
