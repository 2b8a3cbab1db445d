"""Jobs of submitit: on this machine for real, on SLURM up to what `sbatch` is given."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.cli import launch_submitit
from asr.cli.launch import train_all
from asr.cli.launch_submitit import LauncherOptions, SubmititLauncher
from asr.cli.training_job import TrainProcess
from asr.errors import InputError

LOCAL = LauncherOptions(cluster="local", hours=1, cpus=3)
STAND_IN = """\
#!{python}
import os, pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--run-dir") + 1])
def stop(number, frame):
    print("saved", file=sys.stderr, flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("threads", os.environ["OMP_NUM_THREADS"], file=sys.stderr, flush=True)
print("words", *words, file=sys.stderr, flush=True)
has_begun = (folder / "begun").exists()
(folder / "begun").touch()
while "long" in folder.name and not has_begun:
    time.sleep(0.01)
sys.exit(3 if "fail" in folder.name else 0)
"""
MakeRun = Callable[..., TrainProcess]


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Runs with a program in the place of Python that only says how it was called."""
    program = write_program(tmp_path / "stand-in", STAND_IN.format(python=sys.executable))
    monkeypatch.chdir(tmp_path)

    def make(name: str, *overrides: str, **trainer: object) -> TrainProcess:
        return TrainProcess(
            name=name,
            recipe=Path("r.yaml"),
            overrides=overrides,
            folder=Path("runs") / name,
            trainer={"devices": 1, "num_nodes": 1, "accelerator": "auto", **trainer},
            python=str(program),
        )

    return make


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} is not there"
        time.sleep(0.02)


def test_every_run_is_a_job_and_a_failure_keeps_the_others(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run("fail"), make_run("probs", "reuse=probs")]
    with pytest.raises(InputError, match=r"of fail did not finish; see runs/fail/train\.log$"):
        train_all(runs, SubmititLauncher(LOCAL, num_jobs=2))
    lines = capsys.readouterr().err.splitlines()
    words = "-m asr train r.yaml reuse=probs --run-dir runs/probs --resume --no-latency"
    assert {"[probs] threads 3", f"[probs] words {words}", "[fail] threads 3"} <= set(lines)
    for name in ("fail", "probs"):
        (said,) = (line for line in lines if line.startswith(f"{name}: job "))
        assert said.endswith(f", log runs/{name}/train.log")
        assert list(Path("runs", name, "submitit").glob("*_result.pkl"))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("is_told_first", [False, True])
def test_a_run_that_is_stopped_by_the_cluster_saves_itself_and_is_queued_again(
    make_run: MakeRun, is_told_first: bool
) -> None:
    run = make_run("long")
    run.folder.mkdir(parents=True)
    job = SubmititLauncher(LOCAL, num_jobs=1).start(run)
    wait_for(run.folder / "begun")
    (task,) = children(children(os.getpid())[-1])
    if is_told_first:
        os.kill(children(task)[0], signal.SIGTERM)
        while "saved" not in run.log.read_text():
            time.sleep(0.02)
    os.kill(task, signal.SIGUSR2)
    while job.poll() is None:
        time.sleep(0.02)
    assert job.poll() == 0
    lines = run.log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["threads", "words", "saved", "threads", "words"]


def test_ctrl_c_cancels_the_jobs(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("long")

    def interrupted(job: launch_submitit.SubmittedJob) -> int | None:
        if (run.folder / "begun").exists() and not job._is_cancelled:
            raise KeyboardInterrupt
        return 130 if job._is_cancelled else None

    monkeypatch.setattr(launch_submitit.SubmittedJob, "poll", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_all([run], SubmititLauncher(LOCAL, num_jobs=1))
    assert re.search(r"^long: job \d+ cancelled$", capsys.readouterr().err, re.MULTILINE)
    deadline_s = time.monotonic() + 30
    while run.log.read_text().splitlines()[-1] != "saved":
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_job_that_never_began_is_explained_by_its_own_log(make_run: MakeRun) -> None:
    run = make_run("gone")
    run = TrainProcess(
        **{name: getattr(run, name) for name in run.__slots__ if name != "python"},
        python="no-such-program",
    )
    with pytest.raises(InputError, match=r"see \S*/runs/gone/submitit/\d+_0_log\.err$") as error:
        train_all([run], SubmititLauncher(LOCAL, num_jobs=1))
    assert "no-such-program" in Path(str(error.value).rpartition("see ")[2]).read_text()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with SLURM's commands; the file that `sbatch` got is kept as ``batch``."""
    programs = tmp_path / "programs"
    script = f'#!/bin/bash\ncp "$1" {tmp_path}/batch\necho Submitted batch job 7\n'
    sbatch = write_program(programs / "sbatch", script)
    write_program(programs / "srun", "#!/bin/bash\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return sbatch


def test_slurm_is_asked_for_machines_and_processes_of_the_run(
    make_run: MakeRun, slurm: Path, tmp_path: Path
) -> None:
    options = LauncherOptions(
        partition="gpu", hours=12, cpus=8, memory_gb=64, slurm={"qos": "long", "account": "asr"}
    )
    run = make_run("two", devices=4, num_nodes=2, accelerator="gpu")
    run.folder.mkdir(parents=True)
    job = SubmititLauncher(options, num_jobs=1).start(run)
    assert job.poll() is None
    asked = {
        line.removeprefix("#SBATCH --")
        for line in (tmp_path / "batch").read_text().splitlines()
        if line.startswith("#SBATCH")
    }
    assert asked >= {
        *("job-name=two", "partition=gpu", "time=720", "nodes=2", "ntasks-per-node=4"),
        *("gpus-per-node=4", "cpus-per-task=8", "mem=64GB", "qos=long", "account=asr"),
        "signal=USR2@180",
    }


def test_what_slurm_refuses_is_told(make_run: MakeRun, slurm: Path) -> None:
    write_program(slurm, "#!/bin/bash\necho sbatch: error: invalid partition >&2\nexit 1\n")
    run = make_run("refused")
    with pytest.raises(InputError, match=r"refused: not submitted: sbatch: .*invalid partition"):
        train_all([run], SubmititLauncher(LauncherOptions(partition="gppu"), num_jobs=1))


def test_a_machine_without_slurm_or_submitit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"no srun.*--launcher-options cluster=local"):
        SubmititLauncher(LauncherOptions(), num_jobs=1)
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'encore-asr\[cluster\]'"):
        SubmititLauncher(LOCAL, num_jobs=1)
