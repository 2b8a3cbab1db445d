from __future__ import annotations

import pytest

from asr.cli.launch_submitit import LauncherOptions, parse_launcher_options
from asr.errors import InputError


def test_every_option_is_read() -> None:
    words = "cluster=local partition=gpu hours=1.5 gpus=0 cpus=8 memory_gb=32 slurm.qos=long"
    assert parse_launcher_options(words.split()) == LauncherOptions(
        cluster="local",
        partition="gpu",
        hours=1.5,
        gpus=0,
        cpus=8,
        memory_gb=32.0,
        slurm={"qos": "long"},
    )
    assert parse_launcher_options([]) == LauncherOptions()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("partition", r"--launcher-options partition: write key=value"),
        ("partition=", r"write key=value"),
        ("hour=3", r"unknown key hour; did you mean hours\?"),
        ("reuse=none,probs", r"unknown key reuse; allowed: cluster, .*memory_gb, slurm\.<name>"),
        ("slurm.=3", r"unknown key slurm\."),
        ("hours=0", r"--launcher-options hours='0': allowed: a number above 0"),
        ("hours=inf", r"hours='inf': allowed"),
        ("memory_gb=16G", r"memory_gb='16G': allowed: a number above 0"),
        ("gpus=-1", r"gpus='-1': allowed: a whole number from 0"),
        ("cpus=0", r"cpus='0': allowed: a whole number from 1"),
        ("cluster=lsf", r"cluster=lsf: allowed: slurm, local"),
    ],
)
def test_a_wrong_option_is_named(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_launcher_options([word])


@pytest.mark.parametrize(
    ("gpus", "accelerator", "num_gpus"), [(None, "gpu", 4), (None, "auto", 0), (1, "auto", 1)]
)
def test_gpus_are_the_devices_of_a_run_that_names_them(
    gpus: int | None, accelerator: str, num_gpus: int
) -> None:
    trainer = {"devices": 4, "accelerator": accelerator}
    assert LauncherOptions(gpus=gpus).num_gpus(trainer) == num_gpus
