"""Native FLAC: joined files, and headers that do not know how long the audio is."""

from __future__ import annotations

import struct

from asr.audio.source import Extent, Source
from asr.audio.stream import Stream, patched

MAGIC = b"fLaC"
_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_WINDOW = 1 << 22
_TOTAL = 21  # place of the field of 36 bits, in the lower 4 bits of this byte and the next 4 bytes
_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}} | {
    code: 1 << code for code in range(8, 16)
}


def flac_streams(source: Source) -> list[Stream]:
    """The files one behind another, each with the number of samples that its last frame gives."""
    starts = _starts(source)
    stops = [*starts[1:], source.size]
    return [_stream(source, start, stop) for start, stop in zip(starts, stops, strict=True)]


def _starts(source: Source) -> list[int]:
    starts = [0]
    for at in range(0, source.size, _WINDOW):
        window = source.read_at(at, _WINDOW + 7)
        found = window.find(MAGIC)
        while found >= 0:
            if at + found and window[found : found + 8] in _STARTS and found < _WINDOW:
                starts.append(at + found)
            found = window.find(MAGIC, found + 1)
    return starts


def _stream(source: Source, start: int, stop: int) -> Stream:
    whole = Stream((Extent(start, stop),))
    info = source.read_at(start, 42)
    if len(info) < 42:
        return whole
    promised = int.from_bytes(info[_TOTAL : _TOTAL + 5], "big") & 0xFFFFFFFFF
    found = _last_sample(source, start, stop, info)
    if found <= promised or found >= 1 << 36:
        return whole
    total = bytes([info[_TOTAL] & 0xF0 | found >> 32]) + struct.pack(">I", found & 0xFFFFFFFF)
    return Stream(patched(start, stop, [(start + _TOTAL, total)]))


def _last_sample(source: Source, start: int, stop: int, info: bytes) -> int:
    """Samples up to the end of the last frame; 0 where none is found.

    Bytes inside a frame can look like the head of one, so a frame counts where another one ends
    at its start.
    """
    fixed_size = int.from_bytes(info[10:12], "big")  # the largest block, and of fixed size the only
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
    """The samples of the frame that ``head`` begins; None where it begins none."""
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
