"""configs/<group>/ mirrors the package of the group: one file a choice, or one file a part."""

from __future__ import annotations

from omegaconf import OmegaConf

from asr.model.build import PACKAGES, TARGET

from .tree import ALTERNATIVES, CONFIGS, PARTS, REPO, config_files, module_path, relative


def test_the_groups_are_packages() -> None:
    groups = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()}
    assert groups == {*ALTERNATIVES, *PARTS}
    packages = [PACKAGES.get(group, group) for group in groups]
    assert all((REPO / "asr" / package / "__init__.py").is_file() for package in packages)


def test_configs_lie_one_level_deep_in_a_group() -> None:
    assert {path.parent.parent for path in config_files()} == {CONFIGS}
    assert all(path.stem == path.stem.lower() for path in config_files())


def test_a_config_names_a_class_of_its_package() -> None:
    for path in config_files():
        group = path.parent.name
        config = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(config, dict)
        if group in PARTS:
            parts = list(config.values())  # mostly one, which several files may set
        else:
            parts = [config]
            module = module_path(path)  # of the same name, but for a variant
            assert module is not None, f"there is no module for {relative(path)}"
            assert f".{module.stem}." in config[TARGET], relative(path)
        package = PACKAGES.get(group, group)
        assert parts
        for part in parts:
            assert part[TARGET].startswith(f"asr.{package}."), relative(path)


def test_a_config_needs_no_other_group() -> None:
    for path in config_files():
        text = path.read_text()
        assert not any(word in text for word in ("_global_", "defaults:", "${")), relative(path)
