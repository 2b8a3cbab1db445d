"""Reading and writing files safely: atomic writes, checked paths, lines and JSON with places."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from asr.errors import InputError, RunError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_PARTIAL = ".partial"
_LONGEST_NAME = 255  # bytes, of most file systems


def open_file(path: Path) -> BinaryIO:
    """Open a file, or a link to one, for reading; never blocks on a pipe.

    Raises:
        InputError: it cannot be read, or is a folder, a pipe or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: not a file but a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, *, most: int) -> bytes:
    """Read a file of at most ``most`` bytes; InputError for a larger one, or see `open_file`."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)
    if max(size, len(data)) > most:
        raise InputError(f"{path}: {size:,} bytes; allowed: up to {most:,}")
    return data


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` in UTF-8 as :func:`write_bytes` does; lone surrogates are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def fitting_name(stem: str, ending: str) -> str:
    """Join ``stem`` and ``ending``; a stem too long for a file name is cut and gets a digest."""
    name = os.fsencode(stem) + os.fsencode(ending)
    if len(name) <= _LONGEST_NAME:
        return stem + ending
    mark = f"~{_digest(stem)}{ending}"
    kept = os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(mark))]
    while kept and kept[-1] & 0xC0 == 0x80:  # not within a character
        kept = kept[:-1]
    kept = kept[:-1] if kept and kept[-1] & 0xC0 == 0xC0 else kept
    return os.fsdecode(kept) + mark


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, replacing an earlier file; makes missing folders.

    A device or a pipe is written to directly. Raises as :func:`replacing` does.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder that replaces ``path`` when the block ends.

    It is first written to the disk completely. If the block raises, or the process is killed, what
    was at ``path`` stays. A replaced folder loses the files that the new one does not have; for a
    moment between the two there is no folder.

    Raises:
        InputError: ``path`` cannot be written.
        RunError: the disk is full; says how much space is left.
    """
    path = Path(os.path.realpath(path))
    beside = f".{_digest(path.name)}.{os.getpid()}"  # short even if the name is long
    partial = path.with_name(f"{beside}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for written in [*partial.rglob("*"), partial]:
            _to_disk(written)
        if partial.is_dir() and path.is_dir():
            old = path.with_name(f"{beside}.old{_PARTIAL}")
            path.rename(old)
            partial.rename(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
        _to_disk(path.parent)
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        if reason.errno in NO_SPACE:
            _remove(partial)  # frees the space it takes
            raise RunError(f"{path} cannot be written: {no_space(path)}") from error
        raise InputError(f"{path} cannot be written: {reason.strerror or reason}") from error
    finally:
        _remove(partial)


def no_space(path: Path) -> str:
    """Return the error message for a full disk that holds ``path``."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    left_mib = shutil.disk_usage(there).free / 2**20
    return f"no space left on the disk ({left_mib:,.1f} MiB free); make room there"


def clear_partials(folder: Path) -> None:
    """Delete unfinished files of killed processes; no other process may write to ``folder``."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        _remove(partial)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def _reason(error: BaseException | None) -> OSError | None:
    """Return the system error behind ``error``, which `torch.save` hides in the context."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def check_json(name: str | None) -> None:
    """Raise InputError if the file that ``--json`` names cannot be written."""
    if name and name != "-":
        if Path(name).is_dir():
            raise InputError(f"{name} is a folder; name a file for --json, or - for stdout")
        check_folder(Path(name).parent)


def check_folder(folder: Path) -> None:
    """Raise InputError unless ``folder`` is, or can become, a folder to write in."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(f"{folder} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written: no permission in {there}")


MAX_LINE_BYTES = 1 << 22  # of one utterance; a day of speech is a quarter of that
MAX_EMPTY_LINES = 100_000  # a corpus has none; no corpus needs more
_SPACES = re.compile(r"[ \t]+")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line of a file; empty lines are left out.

    Raises ``InputError`` if the file cannot be read, and as :func:`split_lines` does.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be read (not a file)")
    try:
        with path.open("rb") as file:
            yield from split_lines(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_packed_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read lines as :func:`read_lines` does, from a file that may be compressed by gzip."""
    with open_file(path) as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            yield from split_lines(gzip.GzipFile(fileobj=file) if is_packed else file, str(path))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file ({error})") from error


def split_lines(file: BinaryIO | io.BufferedIOBase, name: str) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line of ``file``; empty lines are left out.

    Raises ``InputError``, which names the line, if it is not UTF-8 or longer than
    ``MAX_LINE_BYTES``, or if there are more than ``MAX_EMPTY_LINES`` empty ones.
    """
    number = num_empty = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if data.isspace():
            num_empty += 1
            if num_empty > MAX_EMPTY_LINES:
                raise InputError(
                    f"{name}, line {number}: more than {MAX_EMPTY_LINES:,} empty lines"
                )
        if len(data) > MAX_LINE_BYTES:
            raise InputError(
                f"{name}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB; "
                "one utterance a line is expected"
            )
        try:
            line = data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}, byte {error.start + 1}: not UTF-8 text"
            ) from None
        if line.strip():
            yield f"{name}, line {number}", line.removesuffix("\n").removesuffix("\r")


def key_and_value(line: str) -> tuple[str, str]:
    """Split a line into its first word and the rest, at spaces or tabs as Kaldi does."""
    key, *rest = _SPACES.split(line.strip(" \t"), maxsplit=1)
    return key, rest[0] if rest else ""


def json_objects(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield the place of each line, and its JSON object or what is wrong with it."""
    for where, line in lines:
        try:
            yield where, json_object(line)
        except InputError as error:
            yield where, str(error)


def json_object(line: str) -> dict[str, Any]:
    """Parse the JSON object of a line; ``InputError`` says what is wrong and in which column."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not a JSON object: column {error.colno}: {error.msg}") from None
    except ValueError:  # Python cannot parse integers of more than 4300 digits
        raise InputError("not a JSON object: a number of thousands of digits") from None
    except RecursionError:
        raise InputError("not a JSON object: nested too deeply") from None
    if not isinstance(record, dict):
        raise InputError("not a JSON object")
    if "\\ud" in line.lower():
        _check_characters(record)
    return record


def _check_characters(record: dict[str, Any]) -> None:
    """Refuse escapes of lone surrogates, which UTF-8 cannot encode."""
    for key, value in record.items():
        try:
            json.dumps([key, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"key {key!r} holds half of a surrogate pair, no character") from None
