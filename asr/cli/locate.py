"""Where the project's config groups and recipes lie."""

from __future__ import annotations

from pathlib import Path

import asr


def locate_configs() -> Path:
    """The folder of the config groups: ``asr/configs`` in a wheel, ``configs`` in a checkout."""
    return _beside_the_package("configs")


def locate_recipes() -> Path:
    """The folder of the recipes: ``asr/recipes`` in a wheel, ``recipes`` in a checkout."""
    return _beside_the_package("recipes")


def _beside_the_package(name: str) -> Path:
    package = Path(asr.__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
