from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from asr.cli.compose import compose_recipe
from asr.cli.launch import describe_launch, launch_lines
from asr.cli.main import build_parser
from asr.cli.run_folder import MAY_CHANGE
from asr.cli.train_recipe import what_to_train
from asr.errors import InputError

from .runs import REPO

RECIPE = REPO / "recipes" / "librispeech" / "960h_conformer_l.yaml"
WORDS = [str(RECIPE), "reuse=probs", "--run-dir", "my runs/l", "--resume", "--no-latency"]


def trainer(**settings: object) -> dict[str, object]:
    return {"num_nodes": 1, "devices": 1, "strategy": "auto", "accelerator": "cpu", **settings}


def test_a_recipe_before_resume_is_the_recipe() -> None:
    recipe, overrides, folder = what_to_train(build_parser("train").parse_args(WORDS))
    assert (recipe, overrides) == (RECIPE, ["reuse=probs"])
    assert folder is not None
    assert folder.path == Path("my runs/l")


@pytest.mark.parametrize(("num_nodes", "devices"), [(1, 2), (4, 8)])
def test_torchrun_reads_its_line(num_nodes: int, devices: int) -> None:
    lines = launch_lines(trainer(num_nodes=num_nodes, devices=devices), WORDS)
    name, *words = shlex.split(lines["torchrun"])
    assert name == "torchrun"
    read = get_args_parser().parse_args(words)
    assert (int(read.nnodes.rpartition(":")[2]), int(read.nproc_per_node)) == (num_nodes, devices)
    assert read.standalone is (num_nodes == 1)
    assert read.module
    assert [read.training_script, *read.training_script_args] == ["asr", "train", *WORDS]


def test_srun_has_a_task_for_every_device() -> None:
    lines = launch_lines(trainer(num_nodes=2, devices=4, accelerator="gpu"), ["r.yaml"])
    assert lines["srun"] == (
        "srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 python -m asr train r.yaml"
    )
    assert "gpus" not in launch_lines(trainer(devices=2), ["r.yaml"])["srun"]


def test_a_run_says_how_its_processes_are_started() -> None:
    assert describe_launch(trainer(), ["r.yaml"], {}) is None
    said = describe_launch(trainer(devices=2, strategy="fsdp"), ["r.yaml"], {})
    assert said is not None
    assert said.startswith("1 x 2 processes, fsdp; by torchrun: torchrun --standalone ")


def test_several_machines_need_a_launcher() -> None:
    settings = trainer(num_nodes=2, devices=4)
    with pytest.raises(InputError, match=r"num_nodes=2: start it on every machine by `torchrun --"):
        describe_launch(settings, ["r.yaml"], {})
    for name in ("RANK", "SLURM_PROCID"):
        said = describe_launch(settings, ["r.yaml"], {name: "0"})
        assert said is not None
        assert said.startswith("2 x 4 processes, ddp; ")


TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "4"}
TASKS = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}


@pytest.mark.parametrize("environment", [TORCHRUN, TASKS], ids=["torchrun", "srun"])
def test_another_number_of_processes_is_told(environment: dict[str, str]) -> None:
    assert describe_launch(trainer(num_nodes=2, devices=2), ["r.yaml"], environment) is not None
    for devices in (1, 2):
        with pytest.raises(InputError, match=rf"make {devices} processes, but 4 were started"):
            describe_launch(trainer(devices=devices), ["r.yaml"], environment)


def test_a_shell_on_a_cluster_starts_nothing() -> None:
    assert describe_launch(trainer(), ["r.yaml"], TASKS | {"SLURM_JOB_NAME": "bash"}) is None


SRUN = """\
#!/bin/bash
printf '%s\\n' "$@" > "$OUT/started"
exit $CODE
"""


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_batch_file_trains_and_is_queued_again_where_it_was_interrupted(
    tmp_path: Path, code: int
) -> None:
    for name, text in (("srun", SRUN), ("scontrol", '#!/bin/bash\necho "$@" > "$OUT/queued"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod((tmp_path / name).stat().st_mode | stat.S_IXUSR)
    script = RECIPE.with_name("slurm.sh")
    done = subprocess.run(
        ["bash", str(script), str(RECIPE), "reuse=probs", "encoder.dropout=0.2"],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "OUT": str(tmp_path),
            "CODE": str(code),
            "SLURM_NNODES": "2",
            "SLURM_NTASKS_PER_NODE": "4",
            "SLURM_JOB_ID": "17",
        },
    )
    assert done.returncode == code
    assert (tmp_path / "queued").exists() is (code == 130)
    if code == 130:
        assert (tmp_path / "queued").read_text() == "requeue 17\n"
    python, option, module, verb, *words = (tmp_path / "started").read_text().splitlines()
    assert [python, option, module, verb] == ["python", "-m", "asr", "train"]
    args = build_parser("train").parse_args(words)
    assert args.resume == ""
    settings = compose_recipe(Path(args.recipe), args.overrides)["train"]["trainer"]
    assert (settings["num_nodes"], settings["devices"]) == (2, 4)
    for key in ("num_nodes", "devices", "strategy"):
        assert f"train.trainer.{key}" in MAY_CHANGE
