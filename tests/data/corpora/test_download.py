from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import numpy as np
import pytest

from asr.data.corpora.download import download, offered_num_bytes
from asr.errors import InputError

from .server import Site

DATA = np.random.default_rng(0).bytes(1_000_000)
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def url(site: Site) -> str:
    site.files["/a.tar.gz"] = DATA
    return f"{site.url}/a.tar.gz"


class Fetch:
    """Downloads to ``path`` and keeps what was reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.lines: list[str] = []

    def __call__(self, url: str, *, checksum: str = MD5, num_bytes: int | None = None) -> bytes:
        download(url, self.path, checksum=checksum, num_bytes=num_bytes, report=self.lines.append)
        assert not self.part.exists()
        return self.path.read_bytes()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path / "archives" / "a.tar.gz")


def test_a_file_arrives(site: Site, url: str, fetch: Fetch) -> None:
    assert fetch(url, num_bytes=len(DATA)) == DATA
    assert site.gets == [""]
    assert offered_num_bytes(url) == len(DATA)
    assert offered_num_bytes(f"{site.url}/nothing") is None


def test_a_cut_connection_is_resumed_where_it_broke(site: Site, url: str, fetch: Fetch) -> None:
    site.cuts = [400_000, 300_000]
    assert fetch(url) == DATA
    assert site.gets == ["", "bytes=400000-", "bytes=700000-"]
    assert any("broken off after 400 kB of 1.0 MB; trying again" in line for line in fetch.lines)


def test_what_an_earlier_run_left_is_gone_on_with(site: Site, url: str, fetch: Fetch) -> None:
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(DATA[:123_456])
    assert fetch(url, num_bytes=len(DATA)) == DATA
    assert site.gets == ["bytes=123456-"]
    assert "a.tar.gz.part: going on after 123 kB" in fetch.lines


def test_a_server_without_ranges_sends_it_again(site: Site, url: str, fetch: Fetch) -> None:
    site.ranges = False
    site.cuts = [400_000]
    assert fetch(url) == DATA
    assert site.gets == ["", "bytes=400000-"]
    assert "a.tar.gz.part: the server does not resume; starting anew" in fetch.lines


@pytest.mark.parametrize("num_bytes", [None, len(DATA)])
def test_a_whole_partial_file_needs_its_sum_only(
    site: Site, url: str, fetch: Fetch, num_bytes: int | None
) -> None:
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(DATA)
    assert fetch(url, num_bytes=num_bytes) == DATA
    assert site.gets == ([] if num_bytes else [f"bytes={len(DATA)}-"])


@pytest.mark.parametrize("num_bytes", [None, len(DATA)])
def test_a_partial_file_that_is_too_long_is_dropped(
    site: Site, url: str, fetch: Fetch, num_bytes: int | None
) -> None:
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(DATA + b"more")
    assert fetch(url, num_bytes=num_bytes) == DATA
    assert site.gets[-1] == ""


def test_a_damaged_partial_file_is_dropped_once(site: Site, url: str, fetch: Fetch) -> None:
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(b"x" * 1000)
    assert fetch(url) == DATA
    assert site.gets == ["bytes=1000-", ""]
    assert "a.tar.gz.part: what an earlier run left is damaged; starting anew" in fetch.lines


def test_a_wrong_sum_is_named_and_nothing_is_left(url: str, fetch: Fetch) -> None:
    wrong = "0" * 32
    with pytest.raises(InputError) as error:
        fetch(url, checksum=wrong)
    assert f"a.tar.gz: MD5 sum is {MD5}, expected {wrong}" in str(error.value)
    assert url in str(error.value)
    assert list(fetch.path.parent.iterdir()) == []


def test_another_size_is_refused_before_it_is_read(site: Site, url: str, fetch: Fetch) -> None:
    with pytest.raises(InputError, match="has 1,000,000 bytes, expected 999,999"):
        fetch(url, num_bytes=999_999)
    assert site.gets == [""]
    assert not fetch.path.exists()


def test_a_missing_file_is_not_asked_for_twice(site: Site, fetch: Fetch) -> None:
    with pytest.raises(InputError, match=r"/b\.tar\.gz: 404"):
        fetch(f"{site.url}/b.tar.gz")
    assert site.gets == [""]


def test_a_busy_server_is_asked_again(site: Site, url: str, fetch: Fetch) -> None:
    site.statuses = [503, 429]
    assert fetch(url) == DATA
    assert site.gets == ["", "", ""]


def test_a_server_that_keeps_failing_is_left_with_what_came(
    site: Site, url: str, fetch: Fetch
) -> None:
    site.cuts = [250_000, 0, 0, 0, 0, 0]
    with pytest.raises(InputError, match=r"4 times in a row; 250 kB are in .*run again"):
        fetch(url)
    assert fetch.part.read_bytes() == DATA[:250_000]
    site.cuts = []
    assert fetch(url) == DATA
    assert site.gets[-1] == "bytes=250000-"


def test_nobody_answers(site: Site, fetch: Fetch) -> None:
    closed = site.url.rpartition(":")[0] + ":1"
    with pytest.raises(InputError, match="Connection refused, 4 times in a row"):
        fetch(f"{closed}/a.tar.gz")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://a.b/c", "archive.tar.gz"])
def test_only_the_web_is_asked(url: str, fetch: Fetch) -> None:
    with pytest.raises(InputError, match="http:// and https:// are allowed"):
        fetch(url)


def test_two_processes_do_not_share_a_partial_file(url: str, fetch: Fetch) -> None:
    fetch.part.parent.mkdir()
    with fetch.part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is being downloaded by another process"):
            fetch(url)
    assert fetch(url) == DATA


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(url: str, fetch: Fetch) -> None:
    fetch.part.parent.mkdir()
    fetch.part.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"a\.tar\.gz\.part: No space left on device; make room"):
        fetch(url)
