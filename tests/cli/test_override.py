from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli.compose import compose_recipe
from asr.cli.override import expand, expand_sweep, parse_overrides, split_values
from asr.errors import InputError

NAMES = (
    *("Müller", "数据", "a=b", "it's", "a b", "a,b", "#x", "a#b", "$HOME", "a$b", "${x}", "\\${x}"),
    *("{a}", "a{b}", "2019", "007", "1e5", "true", "(a)", "a\\", "a\\'b", "'a'b", '"x', "100%"),
    *("~/x", "a:b", "*", "@x", "C:\\dir\\", "-x", "!x", "a]b", "[a", "\\\\${x}"),
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "defaults:\n  - text: [tokenizer]\n  - _self_\n"
        "name: 2024\ninit: null\n"
        "splits:\n  folder: data\n  train: 2019\n  dev: a\n  test: [2020, b]\n"
    )
    return path


@pytest.mark.parametrize("name", NAMES)
def test_names_and_paths_are_taken_as_they_stand(recipe: Path, name: str) -> None:
    words = [f"{key}={name}" for key in ("splits.folder", "init", "text.tokenizer.model")]
    config = compose_recipe(recipe, words)
    assert config["splits"]["folder"] == name
    assert config["init"] == name
    assert config["text"]["tokenizer"]["model"] == name


def test_quotes_come_off_and_null_is_nothing(recipe: Path) -> None:
    words = ["splits.folder='a b'", 'init="null"', "splits.dev=null"]
    config = compose_recipe(recipe, words)
    assert (config["splits"]["folder"], config["init"]) == ("a b", "null")
    assert config["splits"]["dev"] is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("splits.test=2019", "2019"),
        ("splits.test=[2019,Müller, 'a,b']", ["2019", "Müller", "a,b"]),
        ("splits.test=[]", []),
    ],
)
def test_one_name_or_several(recipe: Path, word: str, expected: object) -> None:
    assert compose_recipe(recipe, [word])["splits"]["test"] == expected


def test_whole_numbers_of_a_recipe_are_names(recipe: Path) -> None:
    config = compose_recipe(recipe)
    assert config["name"] == "2024"
    assert config["splits"] == {
        "folder": "data",
        "train": "2019",
        "dev": "a",
        "test": ["2020", "b"],
    }


@pytest.mark.parametrize("word", ["splits.dev=[dev]", "init=[a,b]"])
def test_a_list_where_one_name_is_expected(recipe: Path, word: str) -> None:
    with pytest.raises(InputError, match=r"one name is expected .* in quotes: ") as error:
        compose_recipe(recipe, [word])
    assert "\n" not in str(error.value)


def test_other_values_show_the_quotes_they_need() -> None:
    with pytest.raises(InputError, match=r"its own quotes: .encoder\.kind='Mü ller'"):
        parse_overrides(["encoder.kind=Mü ller"])
    with pytest.raises(InputError, match="is not an override; write key=value"):
        parse_overrides(["no override"])


def test_commas_part_values_where_several_are_allowed() -> None:
    assert split_values("'a,b',c") == ["'a,b'", "c"]
    assert split_values("[a,b],[c]") == ["[a,b]", "[c]"]
    assert split_values("it's,b") == ["it's", "b"]
    assert list(expand("init=choice(a,b)")) == ["init=a", "init=b"]
    assert expand_sweep(["splits.folder=Müller,x", "seed=0,1"]) == [
        ["splits.folder=Müller", "seed=0"],
        ["splits.folder=Müller", "seed=1"],
        ["splits.folder=x", "seed=0"],
        ["splits.folder=x", "seed=1"],
    ]
