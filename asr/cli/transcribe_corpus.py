"""`asr transcribe … --shards N`: transcribe a corpus in tasks, locally, on SLURM or on Ray."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.audio.source import STDIN
from asr.cli.corpus_tasks import Done, Tasks, open_tasks
from asr.cli.options import jobs, shards
from asr.cli.parent import as_parent, environment_of_children, stop_with_parent
from asr.cli.recordings import Recording
from asr.decode.formats import as_json
from asr.errors import InputError, RunError, check_installed, printable
from asr.files import check_folder, write_text
from asr.model.plugins import named
from asr.profiling.hardware import num_cores

if TYPE_CHECKING:
    from asr.cli.launch_submitit import LauncherOptions

CORPUS_LAUNCHERS = ("local", "slurm", "ray")
_WORKER = "ENCORE_TRANSCRIBE_WORKER"  # set in jobs of an array: do tasks here, launch nothing
_WITHOUT_EFFECT = ("beside", "skip_existing", "live", "timing", "speakers")
_NOT_OF_WORDS = {
    *("files", "list", "recursive", "out", "beside", "skip_existing", "format", "plugin"),
    *("shards", "jobs", "launcher", "launcher_options", "num_threads", "device", "batch_duration"),
    *("cuda_graphs", "timing", "live", "raw", "pace", "words", "command", "strict"),
    *("cue_width", "cue_lines", "cue_duration"),
}
"""Arguments that do not affect the words of a recording."""


def add_corpus_arguments(parser: Any) -> None:
    """Add the options for transcribing a corpus in tasks."""
    parser.add_argument(
        "--shards",
        type=shards,
        metavar="N",
        help="transcribe a corpus in N tasks with about equal audio, each with a JSONL in --out; "
        "the same command again, here or on other machines that share --out, does missing tasks",
    )
    parser.add_argument(
        "--jobs",
        type=jobs,
        default=1,
        metavar="N",
        help="with --shards: number of processes, array jobs or Ray actors, each with a model "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--launcher",
        choices=CORPUS_LAUNCHERS,
        default="local",
        help="with --shards: processes on this machine; a SLURM array, with its batch file written "
        "to --out, and submitted if there is sbatch; or Ray actors (needs "
        "`pip install 'encore-asr[ray]'`) (default: %(default)s)",
    )
    parser.add_list(
        "--launcher-options",
        ends=lambda word: "=" not in word,
        metavar="KEY=VALUE",
        help="resources of every SLURM job or Ray actor, one or more of hours (24), cpus, "
        "gpus, memory_gb, partition, slurm.<any option of sbatch>",
    )


def check_corpus(args: argparse.Namespace) -> None:
    """Raise InputError for options that contradict each other, or have no effect."""
    if args.shards is None:
        for option, usual in (("jobs", 1), ("launcher", "local"), ("launcher_options", [])):
            if getattr(args, option) != usual:
                raise InputError(f"--{option.replace('_', '-')} needs --shards N")
        return
    if args.out is None:
        raise InputError("--shards N needs --out DIR, for a file of each task")
    for option in _WITHOUT_EFFECT:
        if getattr(args, option):
            raise InputError(f"--{option.replace('_', '-')} has no effect with --shards")
    if args.format != "json":
        raise InputError(f"--shards --format {args.format}: allowed: json")
    if args.launcher_options and args.launcher == "local":
        raise InputError("--launcher-options needs --launcher slurm or ray")


def run_corpus(args: argparse.Namespace, found: Sequence[Recording]) -> int:
    """Do or launch the unfinished tasks; return 2 if recordings could not be read.

    Raises:
        InputError: see `open_tasks`, or the launcher is not available.
        RunError: a process ended before its tasks were done.
    """
    if any(one.path == STDIN for one in found):
        raise InputError("--shards: standard input cannot be a recording of a task")
    check_folder(args.out)
    settings = {name: str(value) for name, value in vars(args).items() if name not in _NOT_OF_WORDS}
    tasks = open_tasks(args.out, found, args.shards, settings)
    if _WORKER in os.environ:
        work(args, tasks)
        return 0
    from asr.cli.launch_submitit import parse_launcher_options  # imports training code

    options = parse_launcher_options(args.launcher_options)
    missing = tasks.missing()
    if missing and args.launcher == "slurm":
        submit(args, tasks, options)
        return 0
    if missing and args.launcher == "ray":
        work_on_ray(args, tasks, options, missing)
    elif missing and args.jobs > 1:
        work_in_processes(args, tasks)
    elif missing:
        work(args, tasks)
    return summarise(tasks)


def work(args: argparse.Namespace, tasks: Tasks) -> None:
    """Do the tasks that no other process has done or locked, one after another."""
    worker: Worker | None = None
    for task in tasks.missing():
        with tasks.taken(task) as is_mine:
            if is_mine:
                worker = worker or Worker(args, tasks)
                worker(task)


class Worker:
    """A worker that does tasks with one model, which is loaded before the first task."""

    def __init__(self, args: argparse.Namespace, tasks: Tasks) -> None:
        self._tasks = tasks
        from asr.cli.transcribe import open_transcriber  # imports this module

        self._transcriber = open_transcriber(args)

    def __call__(self, task: int) -> None:
        """Transcribe the recordings of a task and write its file."""
        started_s = time.perf_counter()
        paths = self._tasks.paths[task]
        lines: list[str] = []
        num_failed, audio_s = 0, 0.0
        results = self._transcriber.each([Path(path) for path in paths])
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, InputError):
                num_failed += 1
                lines.append(json.dumps({"audio_path": path, "error": str(result)}) + "\n")
            else:
                audio_s += result[0].duration_s
                lines.append(as_json(result))
        wall_s = time.perf_counter() - started_s
        self._tasks.write(
            task, "".join(lines), Done(len(paths), num_failed, round(audio_s, 3), round(wall_s, 3))
        )
        print_line(
            f"task {task}: {len(paths):,} recordings, {audio_s / 3600:.2f} h in {wall_s:.1f} s, "
            f"{audio_s / wall_s:.1f} times real time"
            + (f"; {num_failed} could not be read" if num_failed else "")
        )


def work_in_processes(args: argparse.Namespace, tasks: Tasks) -> None:
    """Do the tasks in ``args.jobs`` processes, with an equal share of the CPU threads each.

    Raises:
        RunError: tasks are unfinished, and no process is left to do them.
    """
    share = argparse.Namespace(**vars(args))
    share.num_threads = args.num_threads or max(1, num_cores() // args.jobs)
    context = multiprocessing.get_context("spawn")
    num_jobs = min(args.jobs, len(tasks.missing()))
    processes = [
        context.Process(target=_work_as_child, args=(share, tasks)) for _ in range(num_jobs)
    ]
    with environment_of_children(as_parent() | {"OMP_NUM_THREADS": str(share.num_threads)}):
        for process in processes:
            process.start()
    try:
        for process in processes:
            process.join()
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    if any(process.exitcode for process in processes) and tasks.missing():
        raise RunError(
            f"{len(tasks.missing()):,} of {len(tasks.paths):,} tasks are missing, as a process "
            "ended early; see above, and run the command again for them"
        )


def _work_as_child(args: argparse.Namespace, tasks: Tasks) -> None:
    stop_with_parent()
    try:
        with named(args.plugin):
            work(args, tasks)
    except (InputError, RunError) as error:
        print_line(f"error: {error}")
        sys.exit(3)
    except KeyboardInterrupt:  # the parent reports it
        sys.exit(130)


def submit(args: argparse.Namespace, tasks: Tasks, options: LauncherOptions) -> None:
    """Write the batch file of a SLURM array of ``args.jobs`` jobs, and submit it if possible."""
    path = tasks.folder.absolute() / "array.sbatch"
    log_folder = path.parent / "logs"
    log_folder.mkdir(parents=True, exist_ok=True)  # SLURM does not create it
    asked = {
        "job-name": "asr-transcribe",
        "array": f"0-{args.jobs - 1}",
        "output": f"{log_folder}/%A_%a.txt",
        "time": f"{max(1, round(60 * options.hours))}",
        "cpus-per-task": options.cpus,
        "gpus-per-task": options.gpus,
        "mem": None if options.memory_gb is None else f"{round(1024 * options.memory_gb)}M",
        "partition": options.partition,
        "requeue": "",
    } | {name.replace("_", "-"): value for name, value in options.slurm.items()}
    lines = [
        "#!/bin/bash",
        *(
            f"#SBATCH --{name}{f'={value}' if value != '' else ''}"
            for name, value in asked.items()
            if value is not None
        ),
        f"cd {shlex.quote(str(Path.cwd()))}",
        f"export {_WORKER}=1",
        f"exec {shlex.join([sys.executable, '-m', 'asr', 'transcribe', *args.words])}",
    ]
    write_text(path, "\n".join(lines) + "\n")
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        print_line(
            f"{path} is written; no sbatch here: submit it where there is one by `sbatch {path}`"
        )
        return
    found = subprocess.run(
        [sbatch, "--parsable", path], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        reason = "; ".join(found.stderr.strip().splitlines()[-2:])
        raise InputError(f"{path}: sbatch refused it ({reason})")
    print_line(
        f"array job {found.stdout.strip()} of {args.jobs} jobs for {len(tasks.missing()):,} tasks, "
        f"logs in {log_folder}; the same command tells what is done, and submits what is missing"
    )


def work_on_ray(
    args: argparse.Namespace, tasks: Tasks, options: LauncherOptions, missing: Sequence[int]
) -> None:
    """Do tasks in ``args.jobs`` actors of Ray Data; its rows are task numbers.

    A cluster that runs here, or that RAY_ADDRESS names, is used; otherwise one is started on this
    machine.

    Raises:
        InputError: Ray is not installed.
    """
    check_installed("--launcher ray", ("ray",), extra="ray")
    import ray
    import ray.data

    ray.init(ignore_reinit_error=True, log_to_driver=True)
    num_cpus = options.cpus or max(1, num_cores() // args.jobs)
    share = argparse.Namespace(**vars(args))
    share.num_threads = args.num_threads or num_cpus
    rows = ray.data.from_items(
        [{"task": task} for task in missing], override_num_blocks=len(missing)
    )
    done = rows.map(
        RayWorker,
        fn_constructor_args=(share, tasks),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=args.jobs),
        num_cpus=num_cpus,
        num_gpus=options.gpus or 0,
    )
    for _ in done.iter_rows():
        pass


class RayWorker:
    """An actor that does the tasks of its rows; locked tasks are skipped."""

    def __init__(self, args: argparse.Namespace, tasks: Tasks) -> None:
        self._tasks = tasks
        with named(args.plugin):
            self._worker = Worker(args, tasks)

    def __call__(self, row: dict[str, int]) -> dict[str, int]:
        """Do the task of ``row``."""
        with self._tasks.taken(int(row["task"])) as is_mine:
            if is_mine:
                self._worker(int(row["task"]))
        return row


def summarise(tasks: Tasks) -> int:
    """Print the finished and unfinished tasks; return 2 if recordings could not be read."""
    found = [done for task in range(len(tasks.paths)) if (done := tasks.done(task)) is not None]
    num_failed = sum(done.num_failed for done in found)
    hours = sum(done.audio_s for done in found) / 3600
    print_line(
        f"{len(found):,} of {len(tasks.paths):,} tasks are done: "
        f"{sum(done.num_recordings for done in found):,} recordings, {hours:.2f} h"
    )
    if len(found) < len(tasks.paths):
        print_line("other processes hold the rest; run the command again if one of them has died")
    else:
        tasks.tidy()
    if num_failed:
        print_line(
            f"{num_failed:,} recordings could not be read: lines of {tasks.folder}/*.jsonl with "
            "`error` say why; a task whose file is deleted is done again"
        )
    return 2 if num_failed else 0


def print_line(message: str) -> None:
    """Print a line on stderr."""
    print(f"asr transcribe: {printable(message)}", file=sys.stderr, flush=True)
