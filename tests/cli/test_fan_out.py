from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from asr.cli import fan_out
from asr.cli.fan_out import LOG, train_all
from asr.types import InputError

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
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of Python that only says how it was called."""
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(fan_out.sys, "executable", str(program))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def folders(tmp_path: Path, *names: str) -> dict[str, Path]:
    return {name: tmp_path / "runs" / name for name in names}


def test_each_run_is_a_process_with_its_share_of_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = folders(tmp_path, "none", "probs")
    overrides = {"none": ["reuse=none"], "probs": ["reuse=probs", "seed=1"]}
    train_all(Path("r.yaml"), overrides, paths, num_jobs=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == sorted(
        f"[{name}] {line}"
        for name, path in paths.items()
        for line in (
            "threads 4",
            f"words -m asr train r.yaml {' '.join(overrides[name])} "
            f"--run-dir {path} --resume --no-latency",
        )
    )
    for name, path in paths.items():
        said = [line for line in err.splitlines() if line.startswith(f"[{name}] ")]
        assert (path / LOG).read_text() == "".join(
            line.removeprefix(f"[{name}] ") + "\n" for line in said
        )


def test_there_is_always_a_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_all(Path("r.yaml"), {"a": []}, folders(tmp_path, "a"), num_jobs=20)
    assert "threads 1\n" in capsys.readouterr().err


def test_the_log_is_kept_when_a_run_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        train_all(Path("r.yaml"), {"a": []}, folders(tmp_path, "a"), num_jobs=1)
    assert (tmp_path / "runs" / "a" / LOG).read_text().count("threads 8") == 2


def test_a_failure_is_named_after_the_others_are_done(tmp_path: Path) -> None:
    paths = folders(tmp_path, "fail", "b", "c")
    with pytest.raises(InputError, match=r"training of fail did not finish; see .*fail/train.log"):
        train_all(Path("r.yaml"), {name: [] for name in paths}, paths, num_jobs=1)
    assert all((path / "started").exists() for path in paths.values())


def test_after_ctrl_c_no_further_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def interrupted(recipe: Path, overrides: object, folder: Path, name: str, threads: int) -> int:
        begun.append(name)
        time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(fan_out, "train_one", interrupted)
    paths = folders(tmp_path, *(f"run{index}" for index in range(20)))
    with pytest.raises(KeyboardInterrupt):
        train_all(Path("r.yaml"), {name: [] for name in paths}, paths, num_jobs=1)
    assert len(begun) < 10
