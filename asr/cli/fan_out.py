"""Training runs side by side, one fresh process each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from asr.types import InputError

LOG = "train.log"


def train_all(
    recipe: Path, overrides: Mapping[str, Sequence[str]], folders: Mapping[str, Path], num_jobs: int
) -> None:
    """Train every named variant in its folder, ``num_jobs`` at a time.

    CPU threads are shared out evenly. Progress lines appear on standard error behind the
    variant's name, and in ``train.log`` of its folder. A folder with a partial run is resumed.

    Ctrl-C waits for the runs under way, which stop after their step, and starts no other.

    Raises:
        InputError: a run failed; the others are finished first.
    """
    threads = max(1, (os.cpu_count() or 1) // num_jobs)
    failed: list[str] = []
    with ThreadPoolExecutor(num_jobs) as pool:
        jobs = {
            pool.submit(
                partial(train_one, recipe, overrides[name], folders[name], name, threads)
            ): name
            for name in overrides
        }
        try:
            for job in as_completed(jobs):
                if job.result() != 0:
                    failed.append(jobs[job])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        logs = ", ".join(str(folders[name] / LOG) for name in failed)
        raise InputError(f"training of {', '.join(failed)} did not finish; see {logs}")


def train_one(recipe: Path, overrides: Sequence[str], folder: Path, name: str, threads: int) -> int:
    """Run one training process and pass its progress on; returns its exit code."""
    command = [sys.executable, "-m", "asr", "train", str(recipe), *overrides]
    command += ["--run-dir", str(folder), "--resume", "--no-latency"]
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / LOG).open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            log.write(line)
            log.flush()
            print(f"[{name}] {line}", end="", file=sys.stderr, flush=True)
    return process.returncode
