from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import Site, serve


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty server; after a failure the next attempt follows at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("asr.data.corpora.download.PAUSES_S", (0.0, 0.0, 0.0))
    with serve(Site()) as running:
        yield running
