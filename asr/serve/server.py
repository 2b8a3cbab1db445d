"""Binding a server's address, and serving until the process is asked to stop."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from asr.errors import InputError

_KEEP_ALIVE_S = 30
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Listening:
    """An application and its listening socket."""

    app: FastAPI
    socket: socket.socket

    @property
    def address(self) -> str:
        """Address for a browser."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(app: FastAPI, host: str, port: int) -> Listening:
    """Listen on ``host`` and ``port``, 0 for a free one.

    Raises:
        InputError: the address does not belong to this machine, or is in use.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        found = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot listen ({error.strerror})"
        ) from error
    return Listening(app, found)


def server_of(app: FastAPI) -> uvicorn.Server:
    """Make the server of an application; it stops on SIGINT, SIGTERM or ``should_exit``."""
    config = uvicorn.Config(
        app, log_level="warning", timeout_keep_alive=_KEEP_ALIVE_S, lifespan="on"
    )
    return uvicorn.Server(config)


def serve(listening: Listening) -> None:
    """Serve until the process is asked to stop; answer the requests received before."""
    server_of(listening.app).run([listening.socket])
