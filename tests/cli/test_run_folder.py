from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr.cli.recipe import lookup
from asr.cli.run_folder import EXECUTION_ONLY, RunFolder, default_run_folder, essential
from asr.data.splits import Splits
from asr.errors import InputError
from asr.model.package import FILES
from asr.report.record import RunRecord
from tests.report.records import TRAINING, none_record

CONFIG: dict[str, Any] = {
    "seed": 0,
    "reuse": {"_target_": "asr.reuse.none.NoReuse"},
    "encoder": {"d_model": 16},
    "metrics": {"latency": {"repeats": 3}},
    "data": {
        "loader": {"num_workers": 0, "max_unreadable": 0.1},
        "dataset": {"cache_audio": False},
        "batching": {"s": 1},
    },
    "train": {
        "trainer": {
            "max_steps": 5, "num_threads": 1, "log_every_steps": 1, "print_every_s": 1.0,
            "save_every_steps": 7, "save_every_minutes": 3.0,
            "max_bad_steps": 4, "max_bad_steps_in_row": 2, "loggers": ["csv"],
        },
        "optim": {"betas": [0.9, 0.98]},
        "text": {"num_threads": 1},
    },
}  # fmt: skip


def changed(path: str, value: object) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *sections, leaf = path.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[leaf] = value
    return config


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl.gz").write_bytes(split.encode())
    return Splits(folder=str(tmp_path), train="train", test=["test"])


def folder_of(config: dict[str, Any], splits: Splits) -> Path:
    return default_run_folder(config, Path("recipes/tones.yaml"), splits).path


def test_a_teacher_counts_by_its_weights(splits: Splits, tmp_path: Path) -> None:
    for name, weights in (("one", b"1"), ("two", b"2"), ("same", b"1")):
        (tmp_path / name).mkdir()
        for file in FILES:
            (tmp_path / name / file).write_bytes(weights)

    def taught_by(teacher: str | None) -> Path:
        return folder_of(changed("train.distillation", {"teacher": teacher}), splits)

    teachers = {name: taught_by(str(tmp_path / name)) for name in ("one", "two", "same")}
    assert len({*teachers.values(), taught_by(None), folder_of(CONFIG, splits)}) == 5
    (tmp_path / "one" / FILES[0]).write_bytes(b"3")
    assert taught_by(str(tmp_path / "one")) != teachers["one"]
    with pytest.raises(InputError, match="nowhere: no such model folder"):
        taught_by("nowhere")


def test_the_folder_is_named_by_recipe_reuse_and_settings(splits: Splits) -> None:
    path = folder_of(CONFIG, splits)
    assert path.parent == Path("runs/tones")
    assert path.name.startswith("none-")
    assert path == folder_of(copy.deepcopy(CONFIG), splits)
    other = changed("reuse", {"_target_": "asr.reuse.probs.ReuseProbs"})
    assert folder_of(other, splits).name.startswith("probs-")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("encoder.d_model", 32),
        ("train.optim.betas", [0.9, 0.99]),
        ("data.batching.s", 2),
    ],
)
def test_what_changes_the_outcome_changes_the_folder(
    splits: Splits, tmp_path: Path, key: str, value: object
) -> None:
    assert folder_of(changed(key, value), splits) != folder_of(CONFIG, splits)
    run = RunFolder(tmp_path / "run")
    run.begin(CONFIG)
    with pytest.raises(InputError, match=f"was begun with {key}=") as caught:
        run.check_same_config(changed(key, value))
    assert f", now {value}: resume with the same" in str(caught.value)
    assert "allowed to change: train.trainer.max_steps, " in str(caught.value)


def test_every_key_that_differs_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin(CONFIG)
    config = {**changed("encoder.d_model", 32), "seed": 3, "features": {"speed": {"factors": [1]}}}
    del config["reuse"]
    with pytest.raises(InputError) as caught:
        run.check_same_config(config)
    assert (
        "was begun with seed=0, now 3; reuse._target_=asr.reuse.none.NoReuse, now None; "
        "encoder.d_model=16, now 32; features.speed.factors=None, now [1]: resume"
    ) in str(caught.value)


def test_a_run_may_be_made_longer(splits: Splits, tmp_path: Path) -> None:
    config = changed("train.trainer.max_steps", 6)
    assert folder_of(config, splits) != folder_of(CONFIG, splits)
    run = RunFolder(tmp_path / "run")
    run.begin(CONFIG)
    (change,) = run.check_same_config(config)
    assert change.notice.startswith("changed: train.trainer.max_steps=5, now 6 (a learning rate")
    assert run.check_same_config(CONFIG) == []


def test_a_run_begins_without_what_an_earlier_one_left(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    none_record().save(run.record)
    (tmp_path / ".model.123.partial").mkdir()
    run.begin(CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("key", EXECUTION_ONLY)
def test_how_it_is_carried_out_does_not(splits: Splits, tmp_path: Path, key: str) -> None:
    assert lookup(CONFIG, key) is not None
    config = changed(key, {"x": 9} if key == "metrics" else 9)
    assert folder_of(config, splits) == folder_of(CONFIG, splits)
    run = RunFolder(tmp_path / "run")
    run.begin(CONFIG)
    run.check_same_config(config)


def test_other_data_is_another_folder(splits: Splits) -> None:
    before = folder_of(CONFIG, splits)
    splits.manifest("test").write_bytes(b"more")
    assert folder_of(CONFIG, splits) != before


def test_the_essential_config_leaves_the_original_alone() -> None:
    config = copy.deepcopy(CONFIG)
    assert "metrics" not in essential(config)
    assert config == CONFIG


def test_a_run_is_finished_when_it_trained_to_its_end(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.finished_record() is None
    for training in (None, replace(TRAINING, interrupted=True)):
        none_record(training=training).save(run.record)
        assert run.finished_record() is None
    none_record().save(run.record)
    assert run.finished_record() == RunRecord.load(run.record)


def test_a_checkpoint_begins_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not run.is_begun()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert run.is_begun()


def test_a_folder_without_a_config_may_be_resumed_with_any(tmp_path: Path) -> None:
    RunFolder(tmp_path).check_same_config(CONFIG)
