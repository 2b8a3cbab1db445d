"""configs/<group>/<stem>[_variant].yaml mirrors asr/<group>/<stem>.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from .tree import ALTERNATIVES, CONFIGS, PARTS, REPO, config_files, module_path, relative


def test_the_groups_are_packages() -> None:
    groups = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()}
    assert groups == {*ALTERNATIVES, *PARTS}
    assert all((REPO / "asr" / group / "__init__.py").is_file() for group in groups)


@pytest.mark.parametrize("path", config_files(), ids=relative)
def test_a_config_lies_one_level_deep_in_a_group(path: Path) -> None:
    assert path.parent.parent == CONFIGS
    assert path.stem == path.stem.lower()


@pytest.mark.parametrize("path", config_files(), ids=relative)
def test_a_config_names_a_class_of_the_module_it_mirrors(path: Path) -> None:
    module = module_path(path)
    assert module is not None, f"there is no module for {relative(path)} in asr/{path.parent.name}"
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    if path.parent.name in PARTS:
        assert list(config) == [module.stem], "a part has one key, named like its module"
        config = config[module.stem]
    name = f"asr.{path.parent.name}.{module.stem}"
    assert config["_target_"].rpartition(".")[0] == name


@pytest.mark.parametrize("path", config_files(), ids=relative)
def test_a_config_needs_no_other_group(path: Path) -> None:
    text = path.read_text()
    assert "_global_" not in text
    assert "defaults:" not in text
    assert "${" not in text
