from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asr.cli.run_lock import LOCK_FILE, check_free, locked
from asr.errors import InputError

from .runs import Command, environment, files_in, write_corpus, write_recipe

HOLD = """\
import os, sys, time
from pathlib import Path
from asr.cli.run_lock import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:  # as a data worker does
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process, with a child of its own, that holds the lock until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        words = rf"a run is going on there \(process {first.pid} "
        with pytest.raises(InputError, match=words), locked(tmp_path):
            raise AssertionError("both are inside")
        with pytest.raises(InputError, match=words):
            check_free(tmp_path)
        os.kill(first.pid, signal.SIGKILL)  # its child lives on
        first.wait()
        assert (tmp_path / LOCK_FILE).is_file()
        check_free(tmp_path)
        with locked(tmp_path):
            assert f"process {os.getpid()} on " in (tmp_path / LOCK_FILE).read_text()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_folder_that_nothing_was_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bad input"), locked(tmp_path / "new" / "run"):
        raise InputError("bad input")
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty"):
        pass
    assert files_in(tmp_path / "empty") == {}


def test_many_that_come_and_go_are_never_inside_together(tmp_path: Path) -> None:
    def come_and_go(number: int) -> None:
        for _ in range(20):
            try:
                with locked(tmp_path):
                    inside = tmp_path / "inside"
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                    time.sleep(0.002)
                    inside.unlink()
            except InputError:
                time.sleep(0.001 * number)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=come_and_go, args=(number,)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(tmp_path):
        pass
    assert "cannot be locked (No locks available): start no second run" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--resume"], ["train.optim.peak_lr=1e-4"]])
def test_a_second_run_in_a_folder_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus", num_train=8))
    with holder(tmp_path / "run"):
        before = files_in(tmp_path / "run")
        error = Command(capsys)("train", "tones.yaml", "--run-dir", "run", *words).error
        assert "run: a run is going on there (process " in error
        assert files_in(tmp_path / "run") == before
