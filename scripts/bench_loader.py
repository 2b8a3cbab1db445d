"""How fast batches come from FLAC, against how fast a training step of Conformer-S eats them; and
how long a manifest of a million rows takes to its first batch, in what memory.

    python scripts/bench_loader.py data/librispeech/dev-clean.jsonl.gz

Everything runs on the CPU: a step on one thread, each loader worker in a process of its own. The
large manifest names the audio of the small one again and again. The start is that of `asr train`,
in a fresh process: imports, manifest, tokenizer, checks, model, plan of an epoch, first batch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from asr.audio.read import probe_audio
from asr.cli.compose import compose_recipe
from asr.cli.training_setup import (
    TextSetup,
    make_loader,
    make_normalizer,
    num_encoder_frames,
    prepare_tokenizer,
)
from asr.data.check import count_unalignable
from asr.data.loader import ResumableLoader
from asr.data.manifest import CheckedUtterance, lhotse_cut, read_manifest
from asr.data.splits import Splits
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.profiling.hardware import describe_hardware, source_revision
from asr.profiling.training_step import training_step
from asr.types import Batch

RECIPE = Path(__file__).parents[1] / "recipes" / "librispeech" / "100h_conformer_s.yaml"
BATCH_S = 120.0  # padded seconds of a batch; a step of more takes too long on a CPU
Setup = tuple[Mapping[str, Any], list[Any], TextSetup, AsrModel]


def set_up(manifest: Path, num_workers: int) -> Setup:
    """What `asr train` does before it asks for a batch."""
    torch.set_num_threads(1)
    splits = Splits(folder=str(manifest.parent), train=manifest.name.removesuffix(".jsonl.gz"))
    overrides = [
        f"data.batching.max_duration_s={BATCH_S}",
        f"data.loader.num_workers={num_workers}",
    ]
    config = compose_recipe(RECIPE, overrides)
    utterances = splits.read(splits.train)
    normalizer = make_normalizer(config)
    spelling = cache(normalizer)
    by_split = {splits.train: utterances}
    tokenizer = prepare_tokenizer(config, by_split, splits, None, normalizer=spelling)
    text = TextSetup(normalizer, tokenizer)
    model = build_model(config, vocab_size=text.tokenizer.vocab_size)
    count_unalignable(
        utterances,
        tokenizer=text.tokenizer,
        normalizer=spelling,
        num_frames=partial(num_encoder_frames, model),
    )
    return config, utterances, text, model


def audio_s(batch: Batch) -> float:
    return int(batch.waveform_lengths_B.sum()) / 16_000


def endless(loader: ResumableLoader) -> Iterator[Batch]:
    while True:
        yield from loader


def loader_rate(loader: ResumableLoader, seconds: float) -> float:
    """Seconds of audio a second, once every worker has begun."""
    batches = endless(loader)
    for _ in islice(batches, 4):
        pass
    heard_s, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        heard_s += audio_s(next(batches))
    return heard_s / (time.perf_counter() - start)


def step_rate(model: AsrModel, loader: ResumableLoader, num_steps: int) -> float:
    """Seconds of audio that one second of training consumes, loading not counted."""
    batches = list(islice(endless(loader), num_steps + 1))
    current = iter(batches)
    step = training_step(model, lambda: model.loss(next(current)).loss)
    step()
    start = time.perf_counter()
    for _ in range(num_steps):
        step()
    return sum(map(audio_s, batches[1:])) / (time.perf_counter() - start)


def write_large(manifest: Path, num_rows: int, path: Path) -> None:
    """A manifest of ``num_rows`` that goes round the audio of ``manifest``."""
    records = []
    for utterance in read_manifest(manifest):
        info = probe_audio(utterance.audio_path)
        one = CheckedUtterance(
            utterance.utterance_id,
            utterance.audio_path,
            utterance.start_s,
            utterance.duration_s,
            info.sample_rate_hz,
            info.num_channels,
            utterance.text,
            utterance.speaker,
            utterance.num_bytes,
        )
        records.append(lhotse_cut(one, utterance.source, num_bytes=utterance.num_bytes))
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(num_rows):
            record = records[number % len(records)]
            file.write(json.dumps({**record, "id": f"{record['id']}-{number}"}) + "\n")


def start_up(manifest: Path, num_workers: int, seconds: float) -> None:
    """Prints seconds to the first batch, peak memory by then, and the rate from then on."""
    config, utterances, text, model = set_up(manifest, num_workers)
    loader = make_loader(config, utterances, text, model, training=True)
    loader.set_epoch(1)
    next(iter(loader))
    ready, cpu_s = time.time(), time.process_time()
    peak_mib = kb_of("/proc/self/status", "VmHWM") / 1024
    peak_mib += sum(private_mib(child.pid) for child in multiprocessing.active_children())
    rate = loader_rate(loader, seconds)
    print(json.dumps({"ready": ready, "cpu_s": cpu_s, "mib": peak_mib, "rate": rate}))


def private_mib(process: int | None) -> float:
    """Memory of a process that it shares with no other."""
    return kb_of(f"/proc/{process}/smaps_rollup", r"Private_\w+") / 1024


def kb_of(file: str, key: str) -> int:
    """The sum of the lines ``key: … kB``."""
    found = re.findall(rf"^{key}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    return sum(map(int, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("manifest", type=Path, help="of FLAC files, an hour or more of them")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of a rate")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--start-up", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start_up:
        start_up(args.manifest, args.workers[0], args.seconds)
        return
    config, utterances, text, model = set_up(args.manifest, 0)
    eaten = step_rate(
        model, make_loader(config, utterances, text, model, training=True), args.steps
    )
    print(f"a training step of Conformer-S eats {eaten:.1f} s of audio a second")
    for num_workers in args.workers:
        loading = {**config, "data": {**config["data"]}}
        loading["data"]["loader"] = {**config["data"]["loader"], "num_workers": num_workers}
        rate = loader_rate(
            make_loader(loading, utterances, text, model, training=True), args.seconds
        )
        print(
            f"{num_workers} workers deliver {rate / 3600:.3f} h of audio a second, "
            f"{rate / eaten:.0f} times what a step eats"
        )
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jsonl.gz"
        write_large(args.manifest, args.rows, large)
        command = [sys.executable, __file__, str(large), "--start-up", "--workers", "1"]
        began = time.time()
        done = subprocess.run(
            [*command, "--seconds", str(args.seconds)], stdout=subprocess.PIPE, check=True
        )
        found = json.loads(done.stdout)
    print(
        f"{args.rows:,} rows: first batch after {found['ready'] - began:.0f} s "
        f"({found['cpu_s']:.0f} s of CPU), {found['mib'] / 1024:.2f} GiB; "
        f"then 1 worker delivers {found['rate'] / 3600:.3f} h a second"
    )
    print(f"{describe_hardware(num_threads=1)}; commit {source_revision()}")


if __name__ == "__main__":
    main()
