"""What `asr transcribe` needs for an hour of speech: time, where it goes, memory, and start-up.

    python scripts/bench_transcribe.py --speech DIR --model runs/quickstart/none-*/model

Recordings under DIR, in the order of their names, are joined to one file of ``--length`` seconds
("joined"), and also given as they are ("files"). Every command is a process of its own; repeats
alternate between them, and medians are shown. ``whole`` is from the start of the process to its
end, ``start-up`` is what of that is not transcribing: imports and loading the model. A CPU in
demand by others is seen in ``CPU`` seconds, which stay, beside times, which do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.audio.write import write_audio
from asr.cli.options import audio_length, count
from asr.decode.timing import PARTS
from asr.profiling.hardware import describe_hardware, source_revision
from asr.types import Waveform

SAMPLE_RATE_HZ = 16_000
ENDINGS = {".flac", ".opus", ".wav"}

METER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
"""A process between: Linux counts in the peak of a child what its parent held, an hour of audio."""


class Run(NamedTuple):
    """What one process needed; ``timing`` is the object of ``--timing``."""

    whole_s: float
    cpu_s: float
    peak_mib: float
    timing: dict[str, object]


def recordings(folder: Path, length_s: float) -> Iterator[tuple[Path, Waveform]]:
    """Recordings until there are ``length_s`` seconds of them; the last one may reach beyond."""
    found_s = 0.0
    for path in sorted(path for path in folder.rglob("*") if path.suffix in ENDINGS):
        waveform = resample(read_audio(path), SAMPLE_RATE_HZ)
        yield path, waveform
        found_s += waveform.duration_s
        if found_s >= length_s:
            return
    sys.exit(f"bench_transcribe: {folder} holds {found_s:.0f} s of speech, not {length_s:.0f}")


def run(files: Sequence[Path], model: str, num_threads: int, more: Sequence[str]) -> Run:
    """One process; its standard error ends with the timing, behind which `METER` puts its own."""
    command = [sys.executable, "-m", "asr", "transcribe", *map(str, files), "--model", model]
    command += ["--format", "json", "--timing", "--num-threads", str(num_threads), *more]
    began_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", METER, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(num_threads)},
    )
    whole_s = time.perf_counter() - began_s
    if done.returncode:
        sys.exit(f"bench_transcribe: {done.stderr.strip()}")
    *_, timing, used = done.stderr.splitlines()
    cpu_s, peak_kib = map(float, used.split())
    return Run(whole_s, cpu_s, peak_kib / 1024, json.loads(timing))


def row(name: str, runs: Sequence[Run]) -> str:
    """A line of the table: medians over ``runs``."""

    def middle(key: str) -> float:
        return median(float(str(one.timing[key])) for one in runs)

    shares = [
        100 * median(float(one.timing["shares"][part]) for one in runs)  # type: ignore[index]
        for part in PARTS
    ]
    start_s = median(one.whole_s - float(str(one.timing["wall_s"])) for one in runs)
    cells = [
        f"{middle('audio_s'):.0f}",
        f"{median(one.whole_s for one in runs):.1f}",
        f"{start_s:.1f}",
        f"{median(one.cpu_s for one in runs):.1f}",
        f"{middle('real_time_factor'):.4f}",
        *(f"{share:.0f}" for share in shares),
        f"{median(one.peak_mib for one in runs):.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", nargs="+", required=True, help="folders or exported files")
    parser.add_argument("--threads", nargs="+", type=count, default=[1, 2], metavar="N")
    parser.add_argument("--length", type=audio_length, default=3600.0, metavar="S")
    parser.add_argument("--repeats", type=count, default=3, metavar="N")
    parser.add_argument("options", nargs="*", help="more for `asr transcribe`, behind --")
    args = parser.parse_args()
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        paths, waveforms = zip(*recordings(args.speech, args.length), strict=True)
        joined = Path(folder) / "joined.flac"
        samples = np.concatenate([waveform.samples for waveform in waveforms])
        samples = samples[: round(args.length * SAMPLE_RATE_HZ)]
        write_audio(joined, Waveform(samples, SAMPLE_RATE_HZ))
        given = {"one short file": paths[:1], "joined": [joined], f"{len(paths)} files": paths}
        for _ in range(args.repeats):
            for model in args.model:
                for num_threads in args.threads:
                    for name, files in given.items():
                        key = f"{model} | {num_threads} | {name}"
                        runs[key].append(run(files, model, num_threads, args.options))
    hardware = describe_hardware()
    print(f"{hardware.cpu_model}, {hardware.num_cores} cores; commit {source_revision()}\n")
    parts = " | ".join(f"{part} %" for part in PARTS)
    print(f"| model | threads | audio | s | whole s | start-up s | CPU s | RTF | {parts} | MiB |")
    print("| :--- | ---: | :--- | " + " | ".join(["---:"] * (6 + len(PARTS))) + " |")
    for key, measured in runs.items():
        print(row(key, measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
