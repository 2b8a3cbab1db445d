from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import urllib3

from asr.data import web as module
from asr.data.shards.read import fetch
from asr.errors import InputError
from tests.data.corpora.server import Site

DATA = bytes(range(200))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the next attempt follows at once."""
    retries = urllib3.Retry(total=2, status_forcelist=(503,))
    monkeypatch.setattr(module, "_RETRIES", retries)
    module._open_pool.cache_clear()


@pytest.fixture
def url(site: Site, _quick: None) -> str:
    site.files["/a.tar"] = DATA
    return f"{site.url}/a.tar"


def test_a_stretch_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    assert fetch(str(path)) == DATA
    assert fetch(str(path), 20, 30) == DATA[20:50]
    with pytest.raises(InputError, match=r"a\.tar: cut short .* 10 bytes from byte 190 on, not 20"):
        fetch(str(path), 190, 20)
    with pytest.raises(InputError, match=r"b\.tar: cannot be read \(No such file"):
        fetch(str(tmp_path / "b.tar"))


def test_a_stretch_of_a_file_on_a_server(site: Site, url: str) -> None:
    assert fetch(url) == DATA
    assert fetch(url, 0, 30) == DATA[:30]
    assert fetch(url, 150, 50) == DATA[150:]
    assert site.gets == ["", "bytes=0-29", "bytes=150-199"]


def test_a_server_that_fails_for_a_moment(site: Site, url: str) -> None:
    site.statuses = [503, 503]
    assert fetch(url, 3, 4) == DATA[3:7]
    site.statuses = [503] * 10
    with pytest.raises(InputError, match=r"a\.tar: cannot be read \(.*503"):
        fetch(url, 3, 4)


def test_what_a_server_cannot_give(site: Site, url: str) -> None:
    with pytest.raises(InputError, match="404"):
        fetch(f"{site.url}/b.tar", 0, 10)
    with pytest.raises(InputError, match=r"416|cut short"):
        fetch(url, 500, 10)
    site.ranges = False
    with pytest.raises(InputError, match="does not send parts of files"):
        fetch(url, 3, 4)


def test_a_child_has_connections_of_its_own(site: Site, url: str) -> None:
    fetch(url, 0, 10)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(fetch, [(url, start, 5) for start in range(40)])
    assert found == [DATA[start : start + 5] for start in range(40)]
