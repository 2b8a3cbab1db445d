"""Archives as openslr.org has them, on a server of this machine that can be told to fail."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from asr.data.corpora.parts import Archive, Corpus


@dataclass
class Site:
    """What a server holds and how it behaves; ``requests`` are those it got: method, path, range.

    ``cuts`` and ``statuses`` are used up request by request: bytes after which the connection
    ends, and answers other than 200. ``hold`` keeps a cut connection open until it is set.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def gets(self) -> list[str]:
        """The ranges that were asked for, one a download."""
        return [range_ for method, _, range_ in self.requests if method == "GET"]


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """``site`` at ``site.url`` for the time of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            range_ = self.headers.get("Range", "")
            site.requests.append((self.command, self.path, range_))
            if with_body and site.statuses:
                self.send_error(site.statuses.pop(0))
                return
            data = site.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            first, _, last = range_.removeprefix("bytes=").partition("-")
            start = int(first) if range_ and site.ranges else 0
            stop = int(last) + 1 if last and site.ranges else len(data)
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            partial = site.ranges and range_
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.send_header("Content-Length", str(min(stop, len(data)) - start))
            self.end_headers()
            if with_body:
                stop = start + site.cuts.pop(0) if site.cuts else stop
                self.wfile.write(data[start:stop])
                self.wfile.flush()
                if site.hold is not None and stop < len(data):
                    site.hold.wait(60)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        if site.hold is not None:
            site.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def part_files(part: str, *, num_speakers: int = 2, seed: int = 0) -> dict[str, bytes]:
    """Files of an archive in LibriSpeech's structure, with noise for speech."""
    generator = np.random.default_rng(seed)
    files = {"LibriSpeech/README.TXT": b"about\n", "LibriSpeech/SPEAKERS.TXT": b"; who\n"}
    for speaker in range(10 + seed, 10 + seed + num_speakers):
        folder = f"LibriSpeech/{part}/{speaker}/7"
        lines = []
        for number in range(2):
            name = f"{speaker}-7-{number:04d}"
            noise = 0.1 * generator.standard_normal(8000 + 1600 * number)
            buffer = io.BytesIO()
            soundfile.write(buffer, noise, 16_000, format="FLAC")
            files[f"{folder}/{name}.flac"] = buffer.getvalue()
            lines.append(f"{name} SOME WORDS\n")
        files[f"{folder}/{speaker}-7.trans.txt"] = "".join(lines).encode()
    return files


def folder_files(folder: Path, part: str) -> dict[str, bytes]:
    """Files of an archive made of a split of real recordings."""
    return {
        f"LibriSpeech/{part}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def pack(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """A ``.tar.gz`` of files, and of members without content after them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def publish(site: Site, archives: Mapping[str, bytes], resource: int = 12) -> Corpus:
    """Put archives by part on the site, as a corpus with their sizes and sums."""
    for part, data in archives.items():
        site.files[f"/{resource}/{part}.tar.gz"] = data
    parts = {
        part: Archive(part, len(data), hashlib.md5(data).hexdigest())
        for part, data in archives.items()
    }
    return Corpus("librispeech", resource, parts, tuple(parts))


def md5_list(corpus: Corpus) -> str:
    """The corpus's sums as an md5sum.txt."""
    return "".join(f"{one.checksum}  {part}.tar.gz\n" for part, one in corpus.parts.items())
