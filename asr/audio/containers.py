"""Locating the recordings in WAV, RF64, Wave64, AIFF, CAF, AU and NIST SPHERE files.

The header of these formats gives the number of bytes of samples. If further bytes follow that are
not chunks, because the recorder crashed or wrote to a pipe, they are samples too.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from asr.audio.source import ByteSource, Extent
from asr.audio.streams import StreamedFile, patched, unchanged

_SHORTEST_S = 0.1  # shorter leftovers after the samples are not audio
_STREAMED_NUM_BYTES = (1 << 31) - (1 << 16)  # writers to a pipe give a size near 2**31 or 2**32
_RIFF_NUM_BYTES = (1 << 32) - (1 << 16)  # more needs RF64
_MOST_CHUNKS = 10_000
_LONGEST_FORMAT = 1 << 16
_WAVE_NAMES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_W64_ID = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_TAILS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"JUNK", b"fact", b"cue ", b"smpl", b"PAD ", b"iXML")
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
_KNOWN_CHUNK = re.compile(rb"[ -~]{4}", re.DOTALL)


@dataclass(slots=True)
class _Chunks:
    """The chunks before the samples: position and size of each one's content and of the samples."""

    content: dict[bytes, Extent] = field(default_factory=dict)
    data: int = -1
    promised: int = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of chunks: ``size`` is a `struct` format; sizes may include the header."""

    size: str
    name_length: int = 4
    counts_header: bool = False
    alignment: int = 2

    @property
    def header(self) -> int:
        """Number of bytes before the content."""
        return self.name_length + struct.calcsize(self.size)

    def read(self, source: ByteSource, at: int) -> tuple[bytes, int] | None:
        """Return the name and content size of the chunk at a position."""
        head = source.read_at(at, self.header)
        if len(head) < self.header:
            return None
        (size,) = struct.unpack(self.size, head[self.name_length :])
        return head[:4], size - (self.header if self.counts_header else 0)

    def behind(self, content: int, size: int) -> int:
        """Return the position of the next chunk."""
        return content + size + -size % self.alignment


def chunked_streams(source: ByteSource) -> list[StreamedFile] | None:
    """Return the recordings of such a file, in order; None if it is not one."""
    head = source.read_at(0, 16)
    if head[:4] == b".snd" or head[:4] == b"dns.":
        return [_au(source, head)]
    if head[:8] == b"NIST_1A\n":
        return [_sphere(source)]
    if head[:4] == b"caff":
        return [_caf(source)]
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return [_aiff(source)]
    if head == _W64_ID:
        return [_wave(source, 0, _Layout("<q", 16, counts_header=True, alignment=8), 40)[0]]
    streams: list[StreamedFile] = []
    at = 0
    while (head := source.read_at(at, 12))[:4] in _WAVE_NAMES and head[8:] == b"WAVE":
        order = ">" if head[:4] == b"RIFX" else "<"
        stream, at = _wave(source, at, _Layout(f"{order}I"), 12)
        streams.append(stream)
    return streams or None


def _wave(source: ByteSource, start: int, layout: _Layout, header: int) -> tuple[StreamedFile, int]:
    """Return the WAV, RF64 or Wave64 at ``start``, and the position of the next one."""
    whole = (unchanged(source, start), source.size)
    chunks = _read_chunks(source, start + header, layout, b"data")
    described = chunks.content.get(b"fmt ")
    if chunks.data < 0 or described is None:
        return whole
    fmt = source.read_at(described.start, min(_LONGEST_FORMAT, described.stop - described.start))
    if len(fmt) < 16:
        return whole
    order = layout.size[0]
    _, _, rate_hz, bytes_per_s, block, _ = struct.unpack(f"{order}HHIIHH", fmt[:16])
    if long_sizes := chunks.content.get(b"ds64"):
        sizes = source.read_at(long_sizes.start, 16)
        if chunks.promised == 0xFFFFFFFF and len(sizes) == 16:
            chunks.promised = int.from_bytes(sizes[8:], "little")
    stop, fraction = _end(source, chunks, layout, bytes_per_s or rate_hz * block)
    behind = layout.behind(chunks.data, chunks.promised)
    if stop == chunks.data + chunks.promised and fraction == 1.0:
        following = _next_wave(source, behind, layout)
        return StreamedFile((Extent(start, following),)), following
    name = b"RIFX" if order == ">" else b"RIFF"
    return StreamedFile(
        (_wave_header(name, order, fmt, stop - chunks.data), Extent(chunks.data, stop)), fraction
    ), source.size


def _wave_header(name: bytes, order: str, fmt: bytes, num_bytes: int) -> bytes:
    """Return the header of a WAV with ``num_bytes`` bytes of samples."""
    described = b"fmt " + struct.pack(f"{order}I", len(fmt)) + fmt + bytes(len(fmt) % 2)
    size, sizes = num_bytes, b""
    if num_bytes > _RIFF_NUM_BYTES:
        name, size = b"RF64", 0xFFFFFFFF
        sizes = b"ds64" + struct.pack("<IQQQI", 28, num_bytes + 80, num_bytes, 0, 0)
    data = b"data" + struct.pack(f"{order}I", size)
    body = b"WAVE" + sizes + described + data
    length = min(0xFFFFFFFF, len(body) + num_bytes)
    return name + struct.pack(f"{order}I", length) + body


def _next_wave(source: ByteSource, at: int, layout: _Layout) -> int:
    """Return the position of the next WAV among the chunks from ``at``; else the source's end."""
    for _ in range(_MOST_CHUNKS):
        chunk = layout.read(source, at)
        if chunk is None:
            break
        name, size = chunk
        if name in _WAVE_NAMES and source.read_at(at + 8, 4) == b"WAVE":
            return at
        at = layout.behind(at + layout.header, size)
    return source.size


def _aiff(source: ByteSource) -> StreamedFile:
    layout = _Layout(">I")
    chunks = _read_chunks(source, 12, layout, b"SSND")
    common = chunks.content.get(b"COMM")
    if chunks.data < 0 or common is None:
        return unchanged(source)
    described = source.read_at(common.start, min(22, common.stop - common.start))
    offset = source.read_at(chunks.data, 4)
    if len(described) < 18 or len(offset) < 4:
        return unchanged(source)
    num_channels, num_frames, bits = struct.unpack(">HIH", described[:8])
    coding = described[18:22]
    skipped = 8 + int.from_bytes(offset, "big")
    frame = num_channels * ((bits + 7) // 8)
    if coding not in (b"", b"NONE", b"twos", b"sowt", b"fl32", b"FL32", b"fl64", b"FL64") or not (
        frame and skipped < source.size
    ):
        return unchanged(source)
    exponent, mantissa = struct.unpack(">HQ", described[8:18])
    rate_hz = mantissa * 2.0 ** max(-100, min(100, (exponent & 0x7FFF) - 16383 - 63))
    stop, fraction = _end(source, chunks, layout, rate_hz * frame)
    present = (stop - chunks.data - skipped) // frame
    if stop == chunks.data + chunks.promised and present == num_frames:
        return unchanged(source)
    if fraction < 1.0 and num_frames:
        fraction = min(fraction, present / num_frames)
    return StreamedFile(
        patched(
            0,
            stop,
            [
                (common.start + 2, struct.pack(">I", max(0, present) & 0xFFFFFFFF)),
                (chunks.data - 4, struct.pack(">I", min(0xFFFFFFFF, stop - chunks.data))),
            ],
        )
        if common.start < chunks.data
        else (Extent(0, source.size),),
        fraction,
    )


def _caf(source: ByteSource) -> StreamedFile:
    layout = _Layout(">q", alignment=1)
    chunks = _read_chunks(source, 8, layout, b"data")
    described = chunks.content.get(b"desc")
    if chunks.data < 0 or described is None:
        return unchanged(source)
    fields = source.read_at(described.start, 24)
    if len(fields) < 24:
        return unchanged(source)
    rate_hz, _, _, packet_bytes, packet_samples = struct.unpack(">dIIII", fields)
    bytes_per_s = rate_hz * packet_bytes / max(1, packet_samples)
    if not (packet_bytes and 0 < bytes_per_s < 1e9):  # packets of varying size have a table
        return unchanged(source)
    stop, fraction = _end(source, chunks, layout, bytes_per_s)
    if stop == chunks.data + chunks.promised:
        return unchanged(source)
    size = struct.pack(">q", stop - chunks.data)
    return StreamedFile(patched(0, stop, [(chunks.data - 8, size)]), fraction)


def _au(source: ByteSource, head: bytes) -> StreamedFile:
    order = ">" if head[:4] == b".snd" else "<"
    fields = source.read_at(4, 20)
    if len(fields) < 20:
        return unchanged(source)
    data, promised, _, rate_hz, num_channels = struct.unpack(f"{order}5I", fields)
    chunks = _Chunks(data=data, promised=promised)
    stop, fraction = _end(source, chunks, None, rate_hz * num_channels)
    if stop == data + promised or not 24 <= data < stop:
        return unchanged(source)
    size = struct.pack(f"{order}I", min(0xFFFFFFFF, stop - data))
    return StreamedFile(patched(0, stop, [(8, size)]), fraction)


def _sphere(source: ByteSource) -> StreamedFile:
    """Read a NIST SPHERE file; libsndfile itself does not report missing samples at the end."""
    head = source.read_at(0, 1024)
    found = {
        key: int(value)
        for key, value in re.findall(rb"^(\w+) -i (\d{1,12})\s*$", head, re.MULTILINE)
    }
    frame = found.get(b"channel_count", 1) * found.get(b"sample_n_bytes", 0)
    promised = found.get(b"sample_count", 0) * frame
    length = head[8:16].strip()
    data = int(length) if length.isdigit() else 1024
    plain = re.search(rb"^sample_coding -s\d+ (?:pcm|ulaw|alaw|mu-law)\s*$", head, re.MULTILINE)
    fraction = 1.0
    if plain and 0 < source.size - data < promised < _STREAMED_NUM_BYTES:
        fraction = (source.size - data) / promised
    return StreamedFile((Extent(0, source.size),), fraction)


def _read_chunks(source: ByteSource, at: int, layout: _Layout, data: bytes) -> _Chunks:
    """Read the chunks up to the one that holds the samples."""
    chunks = _Chunks()
    for _ in range(_MOST_CHUNKS):
        chunk = layout.read(source, at)
        if chunk is None:
            break
        name, size = chunk
        content = at + layout.header
        if name == data:
            chunks.data, chunks.promised = content, size
            break
        if size < 0:
            break
        chunks.content.setdefault(name, Extent(content, min(content + size, source.size)))
        at = layout.behind(content, size)
    return chunks


def _end(
    source: ByteSource, chunks: _Chunks, layout: _Layout | None, bytes_per_s: float
) -> tuple[int, float]:
    """Return the end of the samples, and the present fraction of the promised samples."""
    present = max(0, source.size - chunks.data)
    if chunks.promised > present:
        is_known = chunks.promised < _STREAMED_NUM_BYTES
        return source.size, present / chunks.promised if is_known else 1.0
    stop = chunks.data + max(0, chunks.promised)
    left = source.size - stop
    if left < max(8.0, _SHORTEST_S * bytes_per_s) or source.read_at(stop, 8).startswith(_TAGS):
        return stop, 1.0
    if layout is not None and _are_chunks(
        source, layout.behind(chunks.data, chunks.promised), layout
    ):
        return stop, 1.0
    return source.size, 1.0


def _are_chunks(source: ByteSource, at: int, layout: _Layout) -> bool:
    """Return whether the bytes from ``at`` to the end of the source are chunks."""
    num_found = 0
    for _ in range(_MOST_CHUNKS):
        chunk = layout.read(source, at)
        if chunk is None:
            break
        name, size = chunk
        if name in _WAVE_NAMES and source.read_at(at + 8, 4) == b"WAVE":
            return True
        if not _KNOWN_CHUNK.fullmatch(name) or size < 0:
            return num_found > 0 and not any(name)
        if layout.behind(at + layout.header, size) > source.size + layout.alignment:
            return name in _TAILS
        at = layout.behind(at + layout.header, size)
        num_found += 1
    return num_found > 0
