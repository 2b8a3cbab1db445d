"""One training run as a process with a log. Starts without PyTorch: jobs of a cluster load it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.cli.parent import as_parent
from asr.cli.run_log import FILE_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainProcess:
    """`asr train` of one variant, ``name``, in ``folder``; ``trainer`` is its ``train.trainer``.

    ``options`` are further ones of the command; ``python`` runs it. A folder with a partial run is
    resumed.
    """

    name: str
    recipe: Path
    overrides: Sequence[str]
    folder: Path
    trainer: Mapping[str, Any]
    options: Sequence[str] = ()
    python: str = sys.executable

    @property
    def command(self) -> list[str]:
        """What a shell would be given."""
        words = [self.python, "-m", "asr", "train", str(self.recipe), *self.overrides]
        return [*words, "--run-dir", str(self.folder), "--resume", "--no-latency", *self.options]

    @property
    def log(self) -> Path:
        """Where the run writes how it gets on."""
        return self.folder / FILE_NAME

    def begin(
        self,
        *,
        cwd: Path | None = None,
        num_threads: int | None = None,
        preexec: Callable[[], None] | None = None,
        is_own_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start it in the folder ``cwd``, with so many CPU threads where that is given.

        It stops when this process is no more. In a session of its own it hears nothing of the
        terminal.
        """
        threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
        with (cwd or Path()).joinpath(self.log).open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **threads, "PYTHONUNBUFFERED": "1", **as_parent()},
                preexec_fn=preexec,
                start_new_session=is_own_session,
            )
