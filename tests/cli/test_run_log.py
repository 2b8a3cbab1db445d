from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asr.cli.run_log import logged
from asr.errors import RunError


def test_all_that_is_printed_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun, log = tmp_path / "config.yaml", tmp_path / "train.log"
    before = sys.stdout, sys.stderr
    with logged(tmp_path, "asr train a.yaml", begun):
        print("before", file=sys.stderr)
        assert not log.exists()
        begun.touch()
        print("10 %\r20 %\r", end="", file=sys.stderr)
        print("30 %\nof it", file=sys.stderr)
        print("a table")
    assert (sys.stdout, sys.stderr) == before
    out, err = capsys.readouterr()
    assert (out, err) == ("a table\n", "before\n10 %\r20 %\r30 %\nof it\n")
    first, *lines = log.read_text().splitlines()
    assert first.endswith("  asr train a.yaml")
    assert lines == ["before", "30 %", "of it", "a table"]


def test_a_run_that_is_refused_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(RunError), logged(tmp_path, "asr train", tmp_path / "config.yaml"):
        raise RunError("no")
    assert not list(tmp_path.iterdir())


def test_the_error_that_ends_a_run_is_kept_behind_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "train.log").write_text("first\n")
    with pytest.raises(RunError), logged(tmp_path, "asr train", tmp_path / "config.yaml"):
        raise RunError("no memory")
    first, command, error = (tmp_path / "train.log").read_text().splitlines()
    assert (first, error) == ("first", "error: no memory")
    assert command.endswith("  asr train")


def test_what_goes_there_already_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").touch()
    with (tmp_path / "train.log").open("a") as file:
        monkeypatch.setattr(sys, "stderr", file)
        with logged(tmp_path, "asr train", tmp_path / "config.yaml"):
            print("once", file=sys.stderr)
    assert (tmp_path / "train.log").read_text() == "once\n"
