"""`asr config`: the resolved config with meanings, types, and what could be added."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml

from asr.cli.compose import compose_recipe
from asr.cli.config import annotated, argument_types, config_files, type_text
from asr.cli.main import main
from asr.ranges import AudioLength, Share, Threads
from tests.contracts.tree import RECIPES

RECIPE = RECIPES / "quickstart.yaml"


def test_what_is_printed_is_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", str(RECIPE), "reuse=probs", "seed=7"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == compose_recipe(RECIPE, ["reuse=probs", "seed=7"])
    assert "# equal consecutive groups; int | null" in printed
    assert "#   train=[optim,trainer,averaging,distillation]: " in printed


def test_values_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", str(RECIPE), "--plain"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == compose_recipe(RECIPE)
    assert "#" not in printed


def test_a_recipe_of_the_project_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "quickstart", "--plain"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == compose_recipe(RECIPE)
    assert main(["config", "quickstrat"]) == 2
    assert "quickstart.yaml?" in capsys.readouterr().err
    nested = RECIPES / "librispeech" / "960h_conformer_m.yaml"
    for name in (nested.stem, f"librispeech/{nested.stem}", f"recipes/librispeech/{nested.name}"):
        assert main(["config", name, "--plain"]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == compose_recipe(nested)
    assert main(["config", "960h_conformr_m"]) == 2
    assert "960h_conformer_m.yaml" in capsys.readouterr().err


def test_lists_and_empty_values_are_yaml_again() -> None:
    config = {"name": "it's: 1", "splits": {"test": ["a", "b"], "dev": None}, "more": {}}
    assert yaml.safe_load("\n".join(annotated(config))) == config


def test_every_key_of_every_config_has_a_type() -> None:
    files = config_files()
    assert len(files) > 40
    for file in files:
        types = argument_types(file.target)
        assert file.summary, file.target
        for key in file.keys:
            assert types.get(key.name), f"{file.group}/{file.name}: {key.name}"


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (str | None, "text | null"),
        (list[int] | None, "list of int | null"),
        (Share, "float, from 0 to 1"),
        (Threads | None, "int | null, from 1 to 1,024"),
        (Sequence[AudioLength], "list of float, above 0, to 7,200"),
    ],
)
def test_types_in_the_words_of_yaml(hint: object, text: str) -> None:
    assert type_text(hint) == text
