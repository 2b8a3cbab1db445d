from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.cli.compose import compose_recipe
from asr.errors import InputError


def error_of(recipe: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        compose_recipe(recipe, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_recipe_is_its_groups_with_its_own_keys_on_top(recipe: Path) -> None:
    assert compose_recipe(recipe) == {
        "features": {"fbank": {"num_mel_bins": 80}, "specaugment": {"num_freq_masks": 2}},
        "encoder": {"num_layers": 8, "d_model": 64},
        "reuse": {"fused": True},
        "train": {
            "optim": {"lr": 0.001, "betas": [0.9, 0.98], "options": {}},
            "trainer": {"max_steps": 100, "precision": "fp32"},
        },
        "seed": 3,
        "splits": {"train": "train.jsonl.gz"},
    }


def test_overrides_have_the_last_word(recipe: Path) -> None:
    config = compose_recipe(
        recipe,
        ["encoder=large", "encoder.num_layers=2", "reuse=probs", "train.optim.betas=[0.8,0.9]"],
    )
    assert config["encoder"] == {"num_layers": 2, "d_model": 512}
    assert config["reuse"] == {"group_size": 4}
    assert config["train"]["optim"]["betas"] == [0.8, 0.9]


def test_the_body_outranks_a_choice_made_on_the_command_line(recipe: Path) -> None:
    assert compose_recipe(recipe, ["encoder=large"])["encoder"] == {
        "num_layers": 8,
        "d_model": 512,
    }


def test_parts_can_be_chosen_and_switched_off(recipe: Path) -> None:
    assert list(compose_recipe(recipe, ["features=[fbank]"])["features"]) == ["fbank"]
    assert compose_recipe(recipe, ["features.specaugment=null"])["features"]["specaugment"] is None


def test_the_same_from_any_folder_and_as_often_as_one_likes(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = compose_recipe(recipe)
    monkeypatch.chdir(recipe.parent)
    for _ in range(3):
        assert compose_recipe(Path(recipe.name)) == here


def test_the_result_is_plain_and_resolved(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_TEST_CORPUS", "corpus")
    text = recipe.read_text().replace("train.jsonl.gz", "${oc.env:ENCORE_TEST_CORPUS}/a.jsonl.gz")
    recipe.write_text(text)
    config = compose_recipe(recipe)
    assert config["splits"] == {"train": "corpus/a.jsonl.gz"}
    assert json.loads(json.dumps(config)) == config
    assert type(config["splits"]) is dict


def test_groups_beside_the_recipe_come_first(recipe: Path) -> None:
    own = recipe.parent / "encoder" / "small.yaml"
    own.parent.mkdir()
    own.write_text("num_layers: 1\nd_model: 8\n")
    assert compose_recipe(recipe)["encoder"]["d_model"] == 8
    assert compose_recipe(recipe, ["encoder=large"])["encoder"]["d_model"] == 512


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("encoder=smal", "no encoder config is called 'smal'; did you mean small?"),
        ("encoder=3", "encoder is one of large, small"),
        ("encoder=null", "encoder is one of large, small"),
        ("features=[fbank,norm]", "features is one of fbank, specaugment"),
        ("train.trainer.max_step=3", "did you mean train.trainer.max_steps?"),
        ("max_steps=3", "unknown key max_steps; did you mean train.trainer.max_steps?"),
        ("train={optim:{lrr:1}}", "unknown key train.optim.lrr; did you mean train.optim.lr?"),
        ("train.optim.lr.high=1", "unknown key train.optim.lr.high"),
        ("reuse.group_size=4", "unknown key reuse.group_size; reuse has fused"),
        ("hydra.run.dir=x", "unknown key hydra; the recipe has features, encoder,"),
        ("train.trainer=3", "train.trainer is a section, not a value; train.trainer has max_steps"),
        ("+train.trainer.x=3", "keys cannot be added"),
        ("++seed=3", "keys cannot be added"),
        ("~train.optim", "write train.optim=null"),
        ("seed=1,2", "one value is allowed here"),
        ("seed", "'seed' is not an override; write key=value"),
        ("seed=[1", "is not an override"),
        ("=1", "is not an override"),
        ("encoder@train=small", "is not an override"),
        ("seed=${nowhere}", "seed: Interpolation key 'nowhere' not found"),
        ("seed=???", "seed must be set"),
        ("seed=${oc.env:ENCORE_NO_SUCH}", "environment variable ENCORE_NO_SUCH, which is not set"),
    ],
)
def test_what_is_wrong_with_an_override(recipe: Path, override: str, said: str) -> None:
    assert said in error_of(recipe, override)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 3", "seedd: 3", "tiny.yaml: unknown key seedd; did you mean seed?"),
        (
            "num_layers: 8",
            "num_layer: 8",
            "unknown key encoder.num_layer; did you mean encoder.num_",
        ),
        ("encoder:\n  num_layers: 8", "encoder: 8", "encoder is a section, not a value"),
        (
            "encoder: small",
            "encoder: smal",
            "no encoder config is called 'smal'; did you mean small?",
        ),
        ("encoder: small", "encode: small", "there is no config group encode; groups are encoder,"),
        ("  - encoder: small", "  - encoder", "'encoder' in `defaults` must read `group: name`"),
        ("- reuse: none", "- reuse: none\n  - reuse: probs", "`defaults` picks reuse twice"),
        ("  - _self_\n", "", "the last entry of `defaults` must be `_self_`"),
        ("defaults:", "default:", "it needs a `defaults` list"),
        ("seed: 3", "seed: [3", "tiny.yaml:8: expected ',' or ']'"),
        ("seed: 3", "seed: 3\nseed: 4", "tiny.yaml:8: found duplicate key seed"),
    ],
)
def test_what_is_wrong_with_a_recipe(recipe: Path, old: str, new: str, said: str) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    message = error_of(recipe)
    assert said in message
    assert "tiny.yaml" in message


def test_a_recipe_that_is_not_there(recipe: Path, tmp_path: Path) -> None:
    assert str(recipe) in error_of(recipe.with_name("tinny.yaml"))
    assert "has tiny.yaml" in error_of(recipe.with_name("other.yaml"))
    assert "is a folder, not a recipe" in error_of(recipe.parent)
    assert "there is no folder" in error_of(tmp_path / "nowhere" / "tiny.yaml")


def test_a_recipe_that_is_not_text(recipe: Path) -> None:
    recipe.write_bytes(b"\xff\xfe\x00\x81")
    assert "not a readable text file" in error_of(recipe)
    other = recipe.rename(recipe.with_suffix(".txt"))
    assert "must end in .yaml" in error_of(other)


def test_a_broken_config_group_is_named_with_its_line(recipe: Path) -> None:
    group = recipe.parent / "encoder"
    group.mkdir()
    (group / "broken.yaml").write_text("a: 1\nb: [\n")
    assert "broken.yaml:3: " in error_of(recipe, "encoder=broken")


def test_a_choice_may_be_a_file(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "my own.yaml"
    file.write_text("_target_: asr.reuse.probs.ReuseProbs\ngroups: [1, 3]\n")
    config = compose_recipe(recipe, [f"reuse='{file}'", "reuse.groups=[2,2]"])
    assert config["reuse"] == {"_target_": "asr.reuse.probs.ReuseProbs", "groups": [2, 2]}
    with pytest.raises(InputError, match=r"unknown key reuse\.group;"):
        compose_recipe(recipe, [f"reuse='{file}'", "reuse.group=[2,2]"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "reuse=.*mine.yaml: no such file"),
        ("groups: [1, 3]\n", "not a reuse config, which sets _target_"),
        ("- a\n", "not a reuse config, which sets _target_"),
        ("a: [\n", "mine.yaml:2: "),
    ],
)
def test_a_file_that_is_no_choice(
    recipe: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=said):
        compose_recipe(recipe, [f"reuse={file}"])


def test_what_is_picked_in_parts_is_no_file(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"features takes a list of parts, \[a,b\], not one file"):
        compose_recipe(recipe, ["features=a.yaml"])
