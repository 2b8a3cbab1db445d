"""Chained Ogg: recordings of Vorbis, Opus or FLAC, one behind another."""

from __future__ import annotations

from asr.audio.source import Extent, Source
from asr.audio.stream import Stream

MAGIC = b"OggS"
_HEADER = 27
_LONGEST_HEADER = _HEADER + 255
_FIRST_PAGE = 0x02
_WINDOW = 1 << 20


def ogg_streams(source: Source) -> list[Stream]:
    """The links of a chain: each begins with the first pages of what is in it.

    A chain may have been joined from copies of one file, so serial numbers tell nothing.
    """
    starts: list[int] = []
    in_first_pages = is_cut = False
    at, window_at, window = 0, 0, b""
    while at < source.size:
        if not window_at <= at <= window_at + len(window) - _LONGEST_HEADER:
            window_at, window = at, source.read_at(at, _WINDOW)
        head = window[at - window_at :][:_LONGEST_HEADER]
        if head[:4] != MAGIC[: len(head)]:  # damage, or something behind the last page
            found = window.find(MAGIC, at - window_at + 1)
            at = window_at + found if found >= 0 else max(at + 1, window_at + len(window) - 3)
            continue
        num_segments = head[_HEADER - 1] if len(head) >= _HEADER else 255
        is_first = len(head) > 5 and bool(head[5] & _FIRST_PAGE)
        if is_first and not in_first_pages:
            starts.append(at)
        in_first_pages = is_first
        stop = at + _HEADER + num_segments + sum(head[_HEADER : _HEADER + num_segments])
        if is_cut := stop > source.size:
            break
        at = stop
    stops = [*starts[1:], source.size]
    streams = [Stream((Extent(start, stop),)) for start, stop in zip(starts, stops, strict=True)]
    if is_cut:
        streams[-1] = Stream(streams[-1].pieces, damage="cut short within its last page")
    return streams
