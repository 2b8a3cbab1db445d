"""The tasks of `asr transcribe … --shards N`, shared between processes through a folder.

    DIR/tasks.json       recordings of every task, and the settings that affect transcripts
    DIR/00007.jsonl      transcripts of task 7, a line per recording; written atomically
    DIR/done/00007.json  counts of the finished task
    DIR/held/00007/      lock of the process that works on the task

Any number of processes, on any machines that share the folder, run the same loop: take the first
task that is neither done nor locked. The system releases the lock of a process that dies.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from asr.cli.recordings import Recording
from asr.cli.run_lock import locked
from asr.errors import InputError
from asr.files import json_object, write_text

TASKS_FILE = "tasks.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Done:
    """Counts of a finished task: recordings, those that could not be read, seconds of audio."""

    num_recordings: int
    num_failed: int
    audio_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks in a result folder: the paths of each task's recordings."""

    folder: Path
    paths: tuple[tuple[str, ...], ...]

    def output(self, task: int) -> Path:
        """Return the file of a task's transcripts."""
        return self.folder / f"{task:05d}.jsonl"

    def done(self, task: int) -> Done | None:
        """Return the counts of a finished task; None if it is not finished."""
        path = self._done_path(task)
        if not (path.is_file() and self.output(task).is_file()):
            return None
        return Done(**json_object(path.read_text()))

    def missing(self) -> list[int]:
        """Return the unfinished tasks."""
        return [task for task in range(len(self.paths)) if self.done(task) is None]

    @contextmanager
    def taken(self, task: int) -> Iterator[bool]:
        """Lock a task; yield False if another process has the lock or has finished it."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.folder / "held" / f"{task:05d}", num_tries=1))
            except (InputError, FileNotFoundError):
                yield False
                return
            yield self.done(task) is None

    def write(self, task: int, text: str, done: Done) -> None:
        """Write the transcripts of a task, then mark it as finished."""
        write_text(self.output(task), text)
        write_text(self._done_path(task), json.dumps(asdict(done)) + "\n")

    def tidy(self) -> None:
        """Remove the locks left by dead processes, after every task is finished."""
        shutil.rmtree(self.folder / "held", ignore_errors=True)

    def _done_path(self, task: int) -> Path:
        return self.folder / "done" / f"{task:05d}.json"


def open_tasks(
    folder: Path, recordings: Sequence[Recording], num_tasks: int, settings: Mapping[str, str]
) -> Tasks:
    """Return the tasks in ``folder``; plan them unless an earlier call or another machine did.

    Raises:
        InputError: the folder holds other recordings, another number of tasks or other settings.
    """
    path = folder / TASKS_FILE
    wanted = {
        "schema": _SCHEMA,
        "settings": dict(settings),
        "tasks": split_evenly(recordings, num_tasks),
    }
    if not path.is_file():
        with locked(folder / "held"):
            if not path.is_file():
                write_text(path, json.dumps(wanted, ensure_ascii=False) + "\n")
    planned = json_object(path.read_text(encoding="utf-8"))
    _check_same(planned, wanted, path)
    return Tasks(folder, tuple(tuple(task) for task in planned["tasks"]))


def _check_same(planned: Mapping[str, object], wanted: Mapping[str, object], path: Path) -> None:
    advice = "choose another --out, or give the original arguments"
    if planned.get("schema") != _SCHEMA:
        raise InputError(f"{path}: written by another version of encore-asr; choose another --out")
    before, now = planned["settings"], wanted["settings"]
    assert isinstance(before, dict)
    assert isinstance(now, dict)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{path}: begun with --{name.replace('_', '-')} {before.get(name)}, not "
                f"{now.get(name)}; {advice}"
            )
    tasks, others = planned["tasks"], wanted["tasks"]
    assert isinstance(tasks, list)
    assert isinstance(others, list)
    known, named = ({one for task in those for one in task} for those in (tasks, others))
    if known != named:
        raise InputError(
            f"{path}: {len(named - known):,} recordings are not among its {len(known):,}, and "
            f"{len(known - named):,} of those are not named; {advice}"
        )
    if len(tasks) != len(others):
        raise InputError(f"{path}: begun with {len(tasks)} tasks, not {len(others)}; {advice}")


def split_evenly(recordings: Sequence[Recording], num_tasks: int) -> list[list[str]]:
    """Split recordings into up to ``num_tasks`` lists of absolute paths with about equal audio.

    The longest recording goes first, each into the currently shortest list. Without durations from
    a manifest, file sizes are used. A recording that is named twice is read once.
    """
    sizes: dict[str, float] = {}
    known = all(one.duration_s is not None for one in recordings)
    for one in recordings:
        path = os.path.abspath(one.path)  # noqa: PTH100  # links stay links
        sizes[path] = one.duration_s if known and one.duration_s is not None else _num_bytes(path)
    tasks: list[list[str]] = [[] for _ in range(min(num_tasks, len(sizes)))]
    shortest = [(0.0, task) for task in range(len(tasks))]
    for path, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        total, task = shortest[0]
        tasks[task].append(path)
        heapq.heapreplace(shortest, (total + size, task))
    return tasks


def _num_bytes(path: str) -> float:
    try:
        return float(Path(path).stat().st_size)
    except OSError:  # reading it reports the reason
        return 0.0
