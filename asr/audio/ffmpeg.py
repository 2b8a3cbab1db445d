"""Decoding of files that libsndfile cannot read (MP4, M4A, WebM, video, …) with FFmpeg.

FFmpeg writes the first audio stream to a temporary file, at its own rate, with all channels.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from asr.audio.source import ByteSource, file_source
from asr.errors import InputError, RunError

PROGRAM = "ffmpeg"
FFMPEG_SUFFIXES = frozenset(
    {
        *(".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".avi", ".flv"),
        *(".wma", ".wmv", ".asf", ".mpg", ".mpeg", ".ts", ".aac", ".ac3", ".amr", ".wv", ".ape"),
        *(".tta", ".dsf", ".rm", ".spx"),
    }
)
_HEAD_NUM_BYTES = 1024
_MOST_NUM_BYTES = 16 << 30
_STALL_S = 60.0
_POLL_S = 0.02
_COPY_NUM_BYTES = 1 << 20

_MAGIC = (
    (4, b"ftyp", "mov"),  # MP4, M4A, 3GP, QuickTime
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),  # also WebM
    (0, b"FLV\x01", "flv"),
    (8, b"AVI ", "avi"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"),  # WMA, WMV
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"#!AMR", "amr"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"\x0bw", "ac3"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"TTA1", "tta"),
    (0, b"DSD ", "dsf"),
    (0, b".RMF", "rm"),
    (28, b"Speex   ", "ogg"),
)
"""Offset, the bytes at that offset, and FFmpeg's name of the format."""
_TS_PACKET_NUM_BYTES = 188
_TS_SYNC = 0x47


def container(head: bytes) -> str | None:
    """Return FFmpeg's name for the format that begins with ``head``; None for other files."""
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    packets = head[::_TS_PACKET_NUM_BYTES]
    is_stream = len(packets) > 2 and all(byte == _TS_SYNC for byte in packets)
    return "mpegts" if is_stream else None


def decoded(source: ByteSource) -> ByteSource:
    """Return ``source`` itself, or its audio as a WAV file if FFmpeg must decode it.

    The format is recognised here and passed to FFmpeg, and only files may be opened, so that FFmpeg
    follows no playlist or address in it. FFmpeg's complaints become the source's ``damage``.

    Raises:
        InputError: FFmpeg is needed and not installed, or finds no audio.
        RunError: the disk of temporary files is full.
    """
    kind = container(source.read_at(0, _HEAD_NUM_BYTES))
    if kind is None:
        return source
    program = shutil.which(PROGRAM)
    if program is None:
        raise InputError(
            f"{source.name}: needs the program FFmpeg, which is not installed (this is a file of "
            f"the kind {kind}); install it, or give wav, flac, ogg, opus, mp3 or aiff"
        )
    with ExitStack() as inputs:
        if source.file is None:
            copy = inputs.enter_context(tempfile.NamedTemporaryFile())
            _copy(source, copy)
            path = copy.name
        else:
            path = f"/dev/fd/{source.file}"
        output = tempfile.NamedTemporaryFile(suffix=".w64")  # noqa: SIM115 (the source keeps it)
        said = _run([program, "-f", kind, "-i", f"file:{path}"], output.name, source)
    if not output.seek(0, io.SEEK_END):
        reason = f" ({said})" if said else ""
        raise InputError(f"{source.name}: FFmpeg finds no audio in it{reason}")
    damage = source.damage or (f"damaged or cut short (FFmpeg: {said})" if said else "")
    return replace(file_source(output, source.name), identity=source.identity, damage=damage)


def _copy(source: ByteSource, copy: IO[bytes]) -> None:
    try:
        for start in range(0, source.size, _COPY_NUM_BYTES):
            copy.write(source.read_at(start, min(_COPY_NUM_BYTES, source.size - start)))
        copy.flush()
    except OSError as error:
        raise _disk_full(source.name, error.strerror) from error


def _disk_full(name: str, reason: str | None) -> RunError:
    return RunError(
        f"{name}: cannot be copied to {tempfile.gettempdir()} ({reason}); make room there, "
        "or set TMPDIR"
    )


def _run(reading: Sequence[str], out: str, source: ByteSource) -> str:
    """Decode to the file ``out``; return FFmpeg's last message, or "" if all went well."""
    program, *words = reading
    command = [
        *(program, "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file", *words),
        *("-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_s16le"),
        *("-fs", str(_MOST_NUM_BYTES), "-f", "w64", f"file:{out}"),
    ]
    kept = () if source.file is None else (source.file,)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=kept,
        )
        try:
            _wait(process, out, source.name)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        lines = errors.read(1 << 16).decode(errors="replace").split("\n")
    said = [line.replace(words[-1], source.name).strip() for line in lines if line.strip()]
    if any("No space left" in line for line in said):
        raise _disk_full(source.name, "No space left on device")
    exited = f"exit code {process.returncode}" if process.returncode else ""
    return said[-1] if said else exited


def _wait(process: subprocess.Popen[bytes], out: str, name: str) -> None:
    """Wait for the end; raise InputError if nothing is written for a minute."""
    size, since_s = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_S)
        now = Path(out).stat().st_size
        if now != size:
            size, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > _STALL_S:
            raise InputError(f"{name}: FFmpeg decoded nothing for {_STALL_S:g} s")
