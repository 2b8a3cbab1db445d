from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from asr.cli.launch import LocalLauncher, train_all
from asr.cli.training_job import TrainProcess
from asr.errors import InputError

STAND_IN = """\
#!{python}
import os, pathlib, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--run-dir") + 1])
print("threads", os.environ["OMP_NUM_THREADS"], file=sys.stderr)
print("words", *words, file=sys.stderr)
print("a table")
(folder / "started").touch()
sys.exit(3 if "fail" in folder.name else 0)
"""


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.cli.launch.num_cores", lambda: 8)


def runs(tmp_path: Path, **overrides: list[str]) -> list[TrainProcess]:
    """With a program in the place of Python that only says how it was called."""
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return [
        TrainProcess(
            name=name,
            recipe=Path("r.yaml"),
            overrides=words,
            folder=tmp_path / "runs" / name,
            trainer={},
            python=str(program),
        )
        for name, words in overrides.items()
    ]


def test_each_run_is_a_process_with_its_share_of_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = runs(tmp_path, none=["reuse=none"], probs=["reuse=probs", "seed=1"])
    train_all(both, LocalLauncher(num_jobs=2))
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == sorted(
        f"[{run.name}] {line}"
        for run in both
        for line in (
            "threads 4",
            f"words -m asr train r.yaml {' '.join(run.overrides)} "
            f"--run-dir {run.folder} --resume --no-latency",
        )
    )
    for run in both:
        said = [line for line in err.splitlines() if line.startswith(f"[{run.name}] ")]
        assert run.log.read_text() == "".join(
            line.removeprefix(f"[{run.name}] ") + "\n" for line in said
        )


def test_there_is_always_a_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_all(runs(tmp_path, a=[]), LocalLauncher(num_jobs=20))
    assert "threads 1\n" in capsys.readouterr().err


def test_the_log_is_kept_when_a_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = runs(tmp_path, a=[])
    for _ in range(2):
        train_all([run], LocalLauncher(num_jobs=1))
        assert capsys.readouterr().err.count("threads 8") == 1
    assert run.log.read_text().count("threads 8") == 2


def test_a_failure_is_named_after_the_others_are_done(tmp_path: Path) -> None:
    three = runs(tmp_path, fail=[], b=[], c=[])
    with pytest.raises(InputError, match=r"training of fail did not finish; see .*fail/train.log"):
        train_all(three, LocalLauncher(num_jobs=1))
    assert all((run.folder / "started").exists() for run in three)


def test_a_run_that_is_done_has_not_failed(tmp_path: Path) -> None:
    train_all(runs(tmp_path, fail=[]), LocalLauncher(num_jobs=1), is_done=lambda run: True)


class Jobs:
    """A launcher whose jobs write a line at every poll and never end, until they are cancelled."""

    poll_s = 0.001

    def __init__(self, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.num_polls = 0

    def start(self, run: TrainProcess) -> EndlessJob:
        self.begun.append(run.name)
        return EndlessJob(run, self)


class EndlessJob:
    def __init__(self, run: TrainProcess, jobs: Jobs) -> None:
        self.log = run.log
        self._name = run.name
        self._jobs = jobs

    def poll(self) -> int | None:
        if self._name in self._jobs.cancelled:
            return 130
        self._jobs.num_polls += 1
        if self._jobs.num_polls == 5:
            raise KeyboardInterrupt
        with self.log.open("a") as log:
            log.write(f"poll {self._jobs.num_polls}\nhalf a ")
        return None

    def cancel(self) -> None:
        with self.log.open("a") as log:
            log.write("line: saved\n")
        self._jobs.cancelled.append(self._name)


def test_ctrl_c_cancels_what_is_under_way_and_begins_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = Jobs(num_jobs=2)
    with pytest.raises(KeyboardInterrupt):
        train_all(runs(tmp_path, a=[], b=[], c=[]), jobs)
    assert jobs.begun == jobs.cancelled == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == [
        *("[a] poll 1", "[b] poll 2", "[a] half a poll 3", "[b] half a poll 4"),
        *("[a] half a line: saved", "[b] half a line: saved"),
    ]
