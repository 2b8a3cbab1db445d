"""Where the project's config groups lie."""

from __future__ import annotations

from pathlib import Path

import asr


def locate_configs() -> Path:
    """The folder of the config groups: ``asr/configs`` in a wheel, ``configs`` in a checkout."""
    package = Path(asr.__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
