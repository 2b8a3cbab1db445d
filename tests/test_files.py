from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr.errors import InputError
from asr.files import (
    MAX_EMPTY_LINES,
    MAX_LINE_BYTES,
    clear_partials,
    key_and_value,
    read_lines,
    replacing,
    split_lines,
    write_bytes,
    write_text,
)

REPO = Path(__file__).parents[1]
FULL_DISK = ["unshare", "--user", "--map-root-user", "--mount"]
"""Runs a command that may mount a small disk of its own."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_in_utf_8_into_new_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "naïve\n")
    write_text(path, "ö\n")
    assert path.read_bytes() == "ö\n".encode()
    assert names(path.parent) == ["text.txt"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    half_done = replacing(path)
    with pytest.raises(KeyError), half_done as partial:
        raise KeyError(partial.write_bytes(b"ne"), path.read_bytes())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for number in ("1", "2"):
        with replacing(folder) as partial:
            partial.mkdir()
            (partial / f"only{number}").write_text(number)
            (partial / "both").write_text(number)
    assert names(folder) == ["both", "only2"]
    assert (folder / "both").read_text() == "2"
    assert names(tmp_path) == ["model"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "rows")
    assert os.read(reader, 10) == b"rows"
    os.close(reader)
    assert pipe.is_fifo()


def test_where_nothing_can_be_written_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x cannot be written: .*"):
        write_text(tmp_path / "file" / "x", "")


def test_a_killed_process_leaves_the_old_file_and_a_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    code = (
        "import os, signal, sys\n"
        "from asr.files import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=REPO)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    clear_partials(tmp_path)
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(
    subprocess.run([*FULL_DISK, "true"], capture_output=True).returncode != 0,
    reason="needs a disk to fill: no user namespaces here",
)
def test_a_full_disk_is_named_with_what_is_left(tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from asr.train.checkpoint import read_checkpoint, write_checkpoint\n"
        "from asr.errors import RunError\n"
        "path = Path(sys.argv[1]) / 'last.ckpt'\n"
        "write_checkpoint({'step': 1, 'x': torch.zeros(50_000)}, path)\n"
        "try:\n"
        "    write_checkpoint({'step': 2, 'x': torch.zeros(500_000)}, path)\n"
        "except RunError as error:\n"
        "    print(error)\n"
        "print(read_checkpoint(path)['step'], [p.name for p in path.parent.iterdir()])\n"
    )
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && "$2" -c "$3" "$1"'
    words = ["sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run([*FULL_DISK, *words], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    message, kept = done.stdout.splitlines()
    assert "last.ckpt cannot be written: no space left on the disk (0." in message
    assert kept == "1 ['last.ckpt']"


SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    lines = [f"left{one}right" for one in SEPARATORS]
    file.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert [line for _, line in read_lines(file)] == lines


def test_lines_are_numbered_with_the_empty_ones(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("a\n\n \t\nb")
    assert list(read_lines(file)) == [(f"{file}, line 1", "a"), (f"{file}, line 4", "b")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xe9\n", "f, line 2, byte 2: not UTF-8 text"),
        (b"a\n" + b"x" * (MAX_LINE_BYTES + 1), "f, line 2: longer than 4 MiB"),
        (b"a" + b"\n" * (MAX_EMPTY_LINES + 2), "more than 100,000 empty lines"),
    ],
)
def test_a_line_that_cannot_be_one_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(split_lines(io.BytesIO(data), "f"))


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(InputError, match="cannot be read"):
            list(read_lines(path))


def test_a_key_ends_at_spaces_or_tabs() -> None:
    assert key_and_value("  u1\t \tone  two ") == ("u1", "one  two")
    assert key_and_value("u\u00a01 one\u2028two") == ("u\u00a01", "one\u2028two")
    assert key_and_value("u1") == ("u1", "")
