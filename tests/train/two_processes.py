"""Two processes that train together on this machine, forked: nothing is imported anew."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable


def in_two_processes(work: Callable[[], None], *, limit_s: float = 120) -> None:
    """Call ``work`` in both; each must return within ``limit_s``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run, args=(work, rank, port)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(limit_s)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0], "see what they said; None is one that was still at work"


def _run(work: Callable[[], None], rank: int, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the other one may be waiting, and so would this one
    os._exit(0)
