"""Things that are no files: pipes, devices, sockets, folders; and files that are not all there."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from asr.audio import source
from asr.audio.read import check_audio, probe_audio, read_audio, stream_audio
from asr.audio.source import Extent, VirtualFile, memory_source, open_source
from asr.errors import InputError

from .recordings import RATE_HZ, encoded, mp3, speech_like

SPEECH = speech_like(2.0)


def feed(path: Path, data: bytes, *, pause_s: float = 0.0) -> Thread:
    """Writes to a pipe from a thread, in two pieces."""

    def write() -> None:
        with path.open("wb") as pipe:
            pipe.write(data[: len(data) // 2])
            pipe.flush()
            time.sleep(pause_s)
            pipe.write(data[len(data) // 2 :])

    thread = Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac"])
def test_a_named_pipe_is_read_to_its_end(tmp_path: Path, kind: str) -> None:
    data = {
        "wav": encoded(SPEECH),
        "flac": encoded(SPEECH, "FLAC"),
        "mp3": mp3(SPEECH, counts_frames=False),
    }[kind]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = feed(pipe, data, pause_s=0.2)
    duration_s = sum(block.duration_s for block in stream_audio(pipe))
    thread.join()
    assert duration_s == pytest.approx(2.0, abs=0.1)


def test_the_copy_of_a_pipe_is_read_as_often_as_one_likes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = feed(pipe, encoded(np.stack([SPEECH, -SPEECH], axis=1)))
    with open_source(pipe) as copy:
        assert probe_audio(copy).num_channels == 2
        for channel, sign in ((1, 1), (2, -1), (1, 1)):
            (block,) = stream_audio(copy, channel=channel)
            np.testing.assert_allclose(block.samples, sign * SPEECH, atol=2**-15)
    thread.join()


def test_a_pipe_without_a_writer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_WRITER_WAIT_S", 0.2)
    monkeypatch.setattr(source, "_POLL_S", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe: is a pipe that nobody writes to"):
        read_audio(pipe)


def test_a_writer_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_DATA_WAIT_S", 0.2)
    monkeypatch.setattr(source, "_POLL_S", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(InputError, match="no data came through the pipe"):
            read_audio(pipe)
    finally:
        os.close(writer)


def test_a_pipe_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PIPE_NUM_BYTES", 20_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = feed(pipe, encoded(SPEECH)[:40_000])
    with pytest.raises(InputError, match="from a pipe; give it as a file"):
        read_audio(pipe)
    thread.join()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/dev/null", "is a device"),
        ("/dev/zero", "is a device"),
        ("/dev", "is a folder"),
        ("/proc/self/nothing", "no such audio file"),
        ("a\0b", "no file can have this name"),
        ("x" * 300, "cannot be opened"),
    ],
)
def test_what_is_no_audio_file_is_named(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_audio(name)
    assert "\0" not in str(raised.value)


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(InputError, match="is a socket"):
            read_audio("s")


def test_corpora_are_made_of_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is no file; training reads audio more than once"):
        check_audio(pipe)


def test_a_name_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_audio(tmp_path / "a\x1b[2J\nb\u202e.wav")
    assert r"a\x1b[2J\nb\u202e.wav: no such audio file" in str(raised.value)


@pytest.fixture
def sparse(tmp_path: Path) -> Callable[[bytes, bytes], Path]:
    """A file with 4 GB between two pieces of data that were never written."""

    def make(head: bytes, tail: bytes) -> Path:
        path = tmp_path / "sparse.wav"
        with path.open("wb") as file:
            file.write(head)
            file.seek(4_000_000_000, os.SEEK_CUR)
            file.write(tail)
            file.truncate(file.tell() + (not tail))
        if path.stat().st_blocks * 512 > 1 << 30:
            pytest.skip("this file system has no sparse files")
        return path

    return make


@pytest.mark.parametrize("tail", [b"", b"the end"])
def test_a_file_that_was_never_written(sparse: Callable[[bytes, bytes], Path], tail: bytes) -> None:
    path = sparse(encoded(SPEECH), tail)
    notices: list[str] = []
    began_s = time.monotonic()
    blocks = stream_audio(path, strict=False, notify=notices.append)
    duration_s = sum(block.duration_s for block in blocks)
    assert time.monotonic() - began_s < 5
    assert 2.0 <= duration_s < 2.5
    assert "a gap of 4,000 MB that was never written" in notices[0]
    with pytest.raises(InputError, match="never written"):
        read_audio(path)


def test_a_virtual_file_is_its_pieces() -> None:
    data = bytes(range(200))
    file = VirtualFile(memory_source(data, "a"), [Extent(10, 20), b"", b"xyz", Extent(50, 150)])
    whole = data[10:20] + b"xyz" + data[50:150]
    assert file.read() == whole
    for start in (0, 5, 10, 12, 13, 14, 100, 112, 113, 200):
        file.seek(start)
        reader = io.BufferedReader(file)
        assert reader.read(8) == whole[start:][:8]
        reader.detach()
    assert file.seek(-3, os.SEEK_END) == len(whole) - 3
    assert file.read() == whole[-3:]


def test_standard_input_closed() -> None:
    code = "from asr.audio.read import read_audio\nread_audio('/dev/stdin')"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&-', sys.executable, code], capture_output=True, text=True
    )
    assert "InputError: /dev/stdin: standard input is closed" in done.stderr


def test_a_long_file_takes_no_more_memory_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(np.tile(SPEECH, 60)))
    longest = max(len(block.samples) for block in stream_audio(path))
    assert longest <= 1 << 19
    assert check_audio(path).duration_s == 120.0 == probe_audio(path).num_samples / RATE_HZ
