"""Locating joined recordings in one file, with their true lengths: FLAC and Ogg.

Streaming and crashed recorders leave a header with no length or a wrong one, and joined files hold
several recordings. libsndfile trusts the header and stops after the first recording. So a file is
scanned first, without decoding, and libsndfile gets each recording as a virtual file with a
corrected header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from asr.audio.source import ByteSource, Extent, SourcePart

FLAC_MAGIC = b"fLaC"
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_FLAC_WINDOW = 1 << 22
_TOTAL = 21  # offset of a 36 bit field: the lower 4 bits of this byte, then 4 bytes
_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}} | {
    code: 1 << code for code in range(8, 16)
}

OGG_MAGIC = b"OggS"
_PAGE_HEADER = 27
_LONGEST_PAGE_HEADER = _PAGE_HEADER + 255
_FIRST_PAGE = 0x02
_OGG_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """One recording: a virtual file, and what is known to be missing in it.

    Where the header promises more than there is, ``present_fraction`` is below 1 or ``missing_s``
    is the number of missing seconds. ``damage`` says what else is wrong, and ``lost_s`` how many
    seconds of audio are lost by it, where that is known.
    """

    pieces: tuple[SourcePart, ...]
    present_fraction: float = 1.0
    missing_s: float = 0.0
    damage: str = ""
    lost_s: float = 0.0


def unchanged(source: ByteSource, start: int = 0) -> StreamedFile:
    """Return the bytes from ``start`` to the end, unchanged."""
    return StreamedFile((Extent(start, source.size),))


def patched(start: int, stop: int, patches: Iterable[tuple[int, bytes]]) -> tuple[SourcePart, ...]:
    """Replace some of the bytes ``start`` to ``stop``; patches come in rising order."""
    pieces: list[SourcePart] = []
    for place, patch in patches:
        pieces += [Extent(start, place), patch]
        start = place + len(patch)
    return (*pieces, Extent(start, stop))


def flac_streams(source: ByteSource) -> list[StreamedFile]:
    """Return the recordings of joined FLAC files; each length comes from the last frame.

    Headers of streamed FLAC have no length.
    """
    starts = _flac_starts(source)
    stops = [*starts[1:], source.size]
    return [_flac_stream(source, start, stop) for start, stop in zip(starts, stops, strict=True)]


def _flac_starts(source: ByteSource) -> list[int]:
    starts = [0]
    for at in range(0, source.size, _FLAC_WINDOW):
        window = source.read_at(at, _FLAC_WINDOW + 7)
        found = window.find(FLAC_MAGIC)
        while found >= 0:
            if at + found and window[found : found + 8] in _FLAC_STARTS and found < _FLAC_WINDOW:
                starts.append(at + found)
            found = window.find(FLAC_MAGIC, found + 1)
    return starts


def _flac_stream(source: ByteSource, start: int, stop: int) -> StreamedFile:
    whole = StreamedFile((Extent(start, stop),))
    info = source.read_at(start, 42)
    if len(info) < 42:
        return whole
    promised = int.from_bytes(info[_TOTAL : _TOTAL + 5], "big") & 0xFFFFFFFFF
    found = _last_sample(source, start, stop, info)
    if found <= promised or found >= 1 << 36:
        return whole
    total = bytes([info[_TOTAL] & 0xF0 | found >> 32]) + struct.pack(">I", found & 0xFFFFFFFF)
    return StreamedFile(patched(start, stop, [(start + _TOTAL, total)]))


def _last_sample(source: ByteSource, start: int, stop: int, info: bytes) -> int:
    """Return the number of samples up to the end of the last frame; 0 if none is found.

    Bytes inside a frame can look like a frame header, so a frame counts only if another frame ends
    at its start.
    """
    fixed_size = int.from_bytes(info[10:12], "big")  # the largest block, or the only size
    longest = int.from_bytes(info[15:18], "big")
    audio = max(start + 42, stop - min(1 << 20, max(1 << 16, 2 * longest)))
    tail = source.read_at(audio, stop - audio)
    ends: dict[int, int] = {}
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if frame := _frame(tail[at : at + 16], fixed_size):
            if frame.stop in ends:
                return ends[frame.stop]
            ends[frame.start] = ends.get(frame.start, frame.stop)
    return ends.get(0, 0)


def _frame(head: bytes, fixed_size: int) -> Extent | None:
    """Return the samples of the frame that begins with ``head``; None if it is not a frame."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15 or head[3] >> 4 > 10 or (head[3] >> 1) & 7 == 3:
        return None
    length = 1 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length()
    rest = head[5 : 4 + length]
    if not (length == 1 or 2 <= length <= 7) or any(byte & 0xC0 != 0x80 for byte in rest):
        return None
    number = head[4] if length == 1 else head[4] & (0x7F >> length)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    at = 4 + length
    width = {6: 1, 7: 2}.get(size_code, 0)
    extra = head[at : at + width]
    at += width + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    size = int.from_bytes(extra, "big") + 1 if width else _BLOCK_SIZES[size_code]
    is_variable = head[1] & 1
    first = number if is_variable else number * fixed_size
    return Extent(first, first + size)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc


def ogg_streams(source: ByteSource) -> list[StreamedFile]:
    """Return the recordings of a chained Ogg file (Vorbis, Opus, FLAC).

    Each begins with first pages. Serial numbers do not help: a chain may join copies of one file.
    """
    starts: list[int] = []
    in_first_pages = is_cut = False
    at, window_at, window = 0, 0, b""
    while at < source.size:
        if not window_at <= at <= window_at + len(window) - _LONGEST_PAGE_HEADER:
            window_at, window = at, source.read_at(at, _OGG_WINDOW)
        head = window[at - window_at :][:_LONGEST_PAGE_HEADER]
        if head[:4] != OGG_MAGIC[: len(head)]:  # damage, or data after the last page
            found = window.find(OGG_MAGIC, at - window_at + 1)
            at = window_at + found if found >= 0 else max(at + 1, window_at + len(window) - 3)
            continue
        num_segments = head[_PAGE_HEADER - 1] if len(head) >= _PAGE_HEADER else 255
        is_first = len(head) > 5 and bool(head[5] & _FIRST_PAGE)
        if is_first and not in_first_pages:
            starts.append(at)
        in_first_pages = is_first
        stop = at + _PAGE_HEADER + num_segments + sum(head[_PAGE_HEADER:][:num_segments])
        if is_cut := stop > source.size:
            break
        at = stop
    stops = [*starts[1:], source.size]
    streams = [
        StreamedFile((Extent(start, stop),)) for start, stop in zip(starts, stops, strict=True)
    ]
    if is_cut:
        streams[-1] = StreamedFile(streams[-1].pieces, damage="cut short within its last page")
    return streams
