"""HTTP connections: one pool a process, with the proxies of the environment (``https_proxy``)."""

from __future__ import annotations

import os
import urllib.request  # how the environment names proxies, and nothing else
from functools import lru_cache
from urllib.parse import urlsplit

import urllib3

USER_AGENT = "encore-asr"
_RETRIES = urllib3.Retry(total=5, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
_TIMEOUT = urllib3.Timeout(connect=20, read=60)


def is_url(place: str) -> bool:
    """Whether ``place`` is an address of the web and not a path."""
    return place.startswith(("http://", "https://"))


def pool(url: str) -> urllib3.PoolManager:
    """The pool that leads to the server of ``url``; it keeps connections open."""
    parts = urlsplit(url)
    direct = bool(urllib.request.proxy_bypass(parts.hostname or ""))
    proxy = None if direct else urllib.request.getproxies().get(parts.scheme)
    return _open_pool(os.getpid(), proxy)


def reason(error: BaseException) -> str:
    """What went wrong with a connection, on one line."""
    cause = getattr(error, "reason", None) or error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__).splitlines()[0]


@lru_cache(maxsize=2)
def _open_pool(process: int, proxy: str | None) -> urllib3.PoolManager:
    """Connections of this process: those of its parent are not to be shared."""
    if proxy is None:
        return urllib3.PoolManager(retries=_RETRIES, timeout=_TIMEOUT)
    return urllib3.ProxyManager(proxy, retries=_RETRIES, timeout=_TIMEOUT)
