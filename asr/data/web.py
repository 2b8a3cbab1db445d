"""HTTP connections: one pool per process, with the environment's proxies (``https_proxy``)."""

from __future__ import annotations

import os
import urllib.request  # only for the environment's proxies
from functools import lru_cache
from urllib.parse import urlsplit

import urllib3

USER_AGENT = "encore-asr"
_RETRIES = urllib3.Retry(total=5, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
_TIMEOUT = urllib3.Timeout(connect=20, read=60)


def is_url(place: str) -> bool:
    """Return whether ``place`` is a web address and not a path."""
    return place.startswith(("http://", "https://"))


def pool(url: str) -> urllib3.PoolManager:
    """Return the pool for the server of ``url``; it keeps connections open."""
    parts = urlsplit(url)
    direct = bool(urllib.request.proxy_bypass(parts.hostname or ""))
    proxy = None if direct else urllib.request.getproxies().get(parts.scheme)
    return _open_pool(os.getpid(), proxy)


def reason(error: BaseException) -> str:
    """Describe why a connection failed, on one line."""
    cause = getattr(error, "reason", None) or error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__).splitlines()[0]


@lru_cache(maxsize=2)
def _open_pool(process: int, proxy: str | None) -> urllib3.PoolManager:
    """Open the pool of this process; connections of its parent must not be shared."""
    if proxy is None:
        return urllib3.PoolManager(retries=_RETRIES, timeout=_TIMEOUT)
    return urllib3.ProxyManager(proxy, retries=_RETRIES, timeout=_TIMEOUT)
