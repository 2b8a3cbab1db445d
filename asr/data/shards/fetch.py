"""Bytes of files on disk and on servers, whole or a stretch of them."""

from __future__ import annotations

import os

import urllib3

from asr.data.web import USER_AGENT, is_url, pool, reason
from asr.types import InputError


def fetch(place: str, offset: int = 0, num_bytes: int | None = None) -> bytes:
    """``num_bytes`` of the file at ``place`` (None: all) from ``offset`` on.

    A server is asked for just these bytes, on a connection that stays open.

    Raises:
        InputError: nothing there, fewer bytes than that, a server that keeps failing or does not
            send parts of files.
    """
    data = _download(place, offset, num_bytes) if is_url(place) else _read(place, offset, num_bytes)
    if num_bytes is not None and len(data) != num_bytes:
        raise InputError(
            f"{place}: cut short or changed: {len(data):,} bytes from byte {offset:,} on, "
            f"not {num_bytes:,}"
        )
    return data


def _read(path: str, offset: int, num_bytes: int | None) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  a path is made for every utterance else
            num_left = max(0, os.fstat(file.fileno()).st_size - offset)
            file.seek(min(offset, offset + num_left))
            return file.read(num_left if num_bytes is None else min(num_bytes, num_left))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _download(url: str, offset: int, num_bytes: int | None) -> bytes:
    headers = {"User-Agent": USER_AGENT}
    if num_bytes is not None:
        headers["Range"] = f"bytes={offset}-{offset + num_bytes - 1}"
    try:
        response = pool(url).request("GET", url, headers=headers, preload_content=False)
        try:
            if response.status not in (200, 206):
                raise InputError(f"{url}: {response.status} {response.reason}")
            if num_bytes is not None and response.status != 206:
                raise InputError(f"{url}: the server does not send parts of files (HTTP ranges)")
            return response.read()
        finally:
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise InputError(f"{url}: cannot be read ({reason(error)})") from error
