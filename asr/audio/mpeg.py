"""Locating the recordings in MPEG audio (mp3), and their true lengths, by counting frames.

Without a Xing header, libmpg123 guesses the length from the first frame and libsndfile reads no
further; it also stops at a second Xing header.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from asr.audio.source import ByteSource, Extent, SourcePart
from asr.audio.streams import StreamedFile

_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBPS = {  # by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_VERSION_1, _MONO = 3, 3
_WINDOW = 1 << 20
_LONGEST_FRAME = 4096
_COUNTING = (b"Xing", b"Info", b"VBRI")  # start of headers that count the frames
_MOST_BEFORE = 1 << 16  # bytes before the first frame that are not frames


class Header(NamedTuple):
    """The header of a frame, its first four bytes."""

    word: int
    version: int
    layer: int
    rate_hz: int
    num_bytes: int

    @property
    def num_samples(self) -> int:
        """Samples of a frame per channel."""
        if self.layer == 1:
            return 384
        return 1152 if self.layer == 2 or self.version == _VERSION_1 else 576

    @property
    def is_mono(self) -> bool:
        """Whether the frame has one channel."""
        return self.word >> 6 & 3 == _MONO

    @property
    def kind(self) -> tuple[int, int, int, bool]:
        """The fields that do not change within a recording."""
        return self.version, self.layer, self.rate_hz, self.is_mono

    @property
    def tag_at(self) -> int:
        """The offset of a Xing header in a frame without checksum."""
        if self.version == _VERSION_1:
            return 21 if self.is_mono else 36
        return 13 if self.is_mono else 21


def parse_header(head: bytes) -> Header | None:
    """Parse the header in the first four bytes; None if it is not one or gives no length."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    word = int.from_bytes(head[:4], "big")
    version, layer = word >> 19 & 3, 4 - (word >> 17 & 3)
    bit_rate, rate, padding = word >> 12 & 15, word >> 10 & 3, word >> 9 & 1
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    rate_hz = _RATES_HZ[version][rate]
    bits_per_s = _KBPS[version == _VERSION_1, layer][bit_rate] * 1000
    if layer == 1:
        num_bytes = (12 * bits_per_s // rate_hz + padding) * 4
    else:
        slots = 72 if layer == 3 and version != _VERSION_1 else 144
        num_bytes = slots * bits_per_s // rate_hz + padding
    return Header(word, version, layer, rate_hz, num_bytes)


@dataclass(slots=True)
class _Recording:
    """A recording: frames of one kind, and the number of frames its Xing header gives."""

    first: Header
    extents: list[Extent] = field(default_factory=list)
    num_frames: int = 0
    promised: int | None = None
    promise_at: int = 0
    num_lost_bytes: int = 0
    lost_at_s: float = 0.0

    def add(self, at: int, stop: int, num_frames: int) -> None:
        """Add consecutive frames."""
        if self.extents and self.extents[-1].stop == at:
            self.extents[-1] = Extent(self.extents[-1].start, stop)
        else:
            self.extents.append(Extent(at, stop))
        self.num_frames += num_frames

    def lose(self, num_bytes: int) -> None:
        """Record bytes after the frames so far that are not frames."""
        if not self.num_lost_bytes:
            self.lost_at_s = self.duration_s
        self.num_lost_bytes += num_bytes

    @property
    def duration_s(self) -> float:
        """Seconds of the frames so far."""
        return self.num_frames * self.first.num_samples / self.first.rate_hz


def mpeg_streams(source: ByteSource) -> list[StreamedFile] | None:
    """Return the recordings of an mp3; None unless every frame is MPEG audio with a length."""
    recordings = _Scan(source).recordings()
    return [_stream(source, one) for one in recordings] or None


class _Scan:
    """One pass over the headers of all frames."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._window_at = 0
        self._window = b""
        self._sizes: defaultdict[tuple[int, int, int, bool], dict[bytes, int]] = defaultdict(dict)

    def recordings(self) -> list[_Recording]:
        """Return the recordings; one ends at a frame of another kind or a new Xing header."""
        found: list[_Recording] = []
        current: _Recording | None = None
        at, lost = self._behind_tags(0), 0
        while at < self._source.size:
            if current is not None and not lost:
                behind, num_frames = self._plain_frames(at, current.first)
                if num_frames:
                    current.add(at, behind, num_frames)
                    at = behind
                    continue
            header = parse_header(self._bytes(at, 4))
            if current is None or header is None or header.kind != current.first.kind:
                header = self._confirmed(at, header)
            if header is None:
                behind = self._behind_tags(at)
                if behind == at:
                    behind = self._next_frame(at)
                    if current is None and behind > _MOST_BEFORE + self._behind_tags(0):
                        return []
                    if any(self._bytes(at, min(64, behind - at))):
                        lost += behind - at
                at = behind
                continue
            if at + header.num_bytes > self._source.size:
                break  # cut within its last frame
            promise = self._promise(at, header)
            if current is None or promise is not None or header.kind != current.first.kind:
                current = _Recording(header)
                found.append(current)
            if lost:
                current.lose(lost)
                lost = 0
            if promise is None:
                current.add(at, at + header.num_bytes, 1)
            else:
                current.promise_at, current.promised = promise
                current.add(at, at + header.num_bytes, 0)
            at += header.num_bytes
        if lost and current and (current.promised is None or current.num_frames < current.promised):
            current.lose(lost)
        return [recording for recording in found if recording.num_frames]

    def _plain_frames(self, at: int, first: Header) -> tuple[int, int]:
        """Find plain frames like ``first`` from ``at`` on; return their end and number.

        It stops at anything else and at the end of a window. This is the inner loop, run a hundred
        thousand times for an hour of audio.
        """
        sizes = self._sizes[first.kind]
        tag_at = first.tag_at
        self._bytes(at, 4)
        window, start = self._window, at - self._window_at
        place, num_frames, last = start, 0, len(window) - _LONGEST_FRAME
        while place < last:
            head = window[place : place + 4]
            size = sizes.get(head)
            if size is None:
                header = parse_header(head)
                if header is None or header.kind != first.kind:
                    break
                size = sizes[head] = header.num_bytes
            if (
                window[place + tag_at : place + tag_at + 4] in _COUNTING
                or window[place + tag_at + 2 : place + tag_at + 6] in _COUNTING
                or window[place + 36 : place + 40] in _COUNTING
            ):
                break
            place += size
            num_frames += 1
        return at + place - start, num_frames

    def _confirmed(self, at: int, header: Header | None) -> Header | None:
        """Return ``header`` if a frame of the same kind, or the end, follows its frame."""
        if header is None:
            return None
        behind = at + header.num_bytes
        following = parse_header(self._bytes(behind, 4))
        if behind >= self._source.size - 4 or self._behind_tags(behind) > behind:
            return header
        return header if following and following.kind == header.kind else None

    def _next_frame(self, at: int) -> int:
        """Return the position of the next frame that another frame follows; else the end."""
        at += 1
        while at < self._source.size:
            window = self._bytes(at, _LONGEST_FRAME)
            found = window.find(b"\xff")
            if found < 0:
                at += max(1, len(window))
                continue
            at += found
            if self._confirmed(at, parse_header(self._bytes(at, 4))):
                return at
            at += 1
        return self._source.size

    def _promise(self, at: int, header: Header) -> tuple[int, int] | None:
        """Return the position and value of the frame count in a Xing or VBRI header; else None.

        A Xing header without a count gives (0, 0).
        """
        if header.layer != 3:
            return None
        frame = self._bytes(at, min(header.num_bytes, 64))
        for place in (header.tag_at, header.tag_at + 2):
            if frame[place : place + 4] in (b"Xing", b"Info") and len(frame) >= place + 12:
                flags, number = struct.unpack(">II", frame[place + 4 : place + 12])
                return (at + place + 8, number) if flags & 1 else (0, 0)
        if frame[36:40] == b"VBRI" and len(frame) >= 54:
            return at + 50, int.from_bytes(frame[50:54], "big")
        return None

    def _behind_tags(self, at: int) -> int:
        """Return the position after the ID3, APE and Lyrics tags that begin at ``at``."""
        while True:
            head = self._bytes(at, 32)
            if head[:3] == b"ID3" and len(head) >= 10 and not any(b & 0x80 for b in head[6:10]):
                size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
                at += 10 + size + (10 if head[5] & 0x10 else 0)
            elif head[:3] == b"TAG":
                at += 128
            elif head[:8] == b"APETAGEX" and len(head) == 32:
                size = int.from_bytes(head[12:16], "little")
                is_header = head[23] & 0x20
                at += 32 + (size if is_header else 0)
            elif head[:11] == b"LYRICSBEGIN":
                at = self._source.size
            else:
                return min(at, self._source.size)

    def _bytes(self, at: int, size: int) -> bytes:
        """Return up to ``size`` bytes, at most a window."""
        start = at - self._window_at
        if start < 0 or start + size > len(self._window):
            self._window = self._source.read_at(at, _WINDOW)
            self._window_at, start = at, 0
        return self._window[start : start + size]


def _stream(source: ByteSource, recording: _Recording) -> StreamedFile:
    """Return the frames, after a Xing header with their number."""
    found, promised = recording.num_frames, recording.promised
    pieces: tuple[SourcePart, ...] = tuple(recording.extents)
    missing_s = 0.0
    if promised != found and recording.first.layer == 3:
        if promised is None or not recording.promise_at:
            skipped = 0 if promised is None else 1
            first = recording.extents[0]
            if skipped:
                header = parse_header(source.read_at(first.start, 4))
                assert header is not None
                first = Extent(first.start + header.num_bytes, first.stop)
            pieces = (_xing(recording.first, found), first, *recording.extents[1:])
        else:
            place, first = recording.promise_at, recording.extents[0]
            count = struct.pack(">I", found)
            pieces = (
                Extent(first.start, place),
                count,
                Extent(place + 4, first.stop),
                *recording.extents[1:],
            )
            if found < promised:
                missing_s = (promised - found) * recording.first.num_samples
                missing_s /= recording.first.rate_hz
    damage, lost_s = "", 0.0
    if recording.num_lost_bytes:
        audio_bytes = sum(extent.stop - extent.start for extent in recording.extents)
        lost_s = recording.num_lost_bytes / audio_bytes * recording.duration_s
        damage = (
            f"damaged at {recording.lost_at_s:.2f} s: {recording.num_lost_bytes:,} bytes there "
            "are no MPEG audio and are left out"
        )
    return StreamedFile(pieces, missing_s=missing_s, damage=damage, lost_s=lost_s)


def _xing(first: Header, num_frames: int) -> bytes:
    """Return a Xing header: a silent frame that gives the number of frames."""
    without_checksum = first.word & ~0xF200 | 1 << 16
    headers = (
        parse_header(struct.pack(">I", without_checksum | rate << 12)) for rate in range(1, 15)
    )
    header = next(each for each in headers if each and each.num_bytes >= each.tag_at + 12)
    frame = bytearray(header.num_bytes)
    frame[:4] = struct.pack(">I", header.word)
    frame[header.tag_at : header.tag_at + 12] = struct.pack(">4sII", b"Xing", 1, num_frames)
    return bytes(frame)
