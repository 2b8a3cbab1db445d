"""What an installed Encore finds without a checkout."""

from __future__ import annotations

import tomllib

from .tree import REPO, recipe_files, relative


def test_the_wheel_holds_configs_and_every_recipe() -> None:
    pyproject = tomllib.loads((REPO / "pyproject.toml").read_text())
    included = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    recipes = {relative(path): f"asr/{relative(path)}" for path in recipe_files()}
    assert included == {"configs": "asr/configs", **recipes}
