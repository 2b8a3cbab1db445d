"""What lies in the repository: the lists that the contracts go through."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPO = Path(__file__).parents[2]
CONFIGS = REPO / "configs"
RECIPES = REPO / "recipes"

ALTERNATIVES = ("reuse", "encoder", "head", "lm", "decode")
"""Groups of which a recipe picks one file."""
PARTS = ("features", "text", "data", "metrics", "train")
"""Groups of which a recipe picks several files, each under a key of its own."""


def config_files() -> list[Path]:
    return sorted(CONFIGS.rglob("*.yaml"))


def recipe_files() -> list[Path]:
    return sorted(RECIPES.rglob("*.yaml"))


def relative(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def module_path(config: Path) -> Path | None:
    """``asr/<group>/<stem>.py`` of ``configs/<group>/<stem>[_variant].yaml``, if there is one."""
    package = REPO / "asr" / config.parent.relative_to(CONFIGS)
    words = config.stem.split("_")
    for num_words in range(len(words), 0, -1):
        module = package / f"{'_'.join(words[:num_words])}.py"
        if module.is_file():
            return module
    return None


def project_files() -> list[Path]:
    """Files that git tracks, or would track once they are added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    return [REPO / name for name in names.stdout.splitlines() if (REPO / name).is_file()]
