"""Times a fixed set of calls against another revision, or a wheel, in alternation.

python scripts/bench_guard.py HEAD~1
python scripts/bench_guard.py dist/encore_asr-0.1.0-py3-none-any.whl --only encoder --rounds 30

The other code is unpacked beside this one and runs in a process of its own; both make the same
calls by turns (A B A B), so what else the machine does meets both. A ratio is how many times as
long this code takes as the other: its median over the other's, with the 95 % interval over rounds.
Exit code 1: a call costs more than `--limit` percent, and the whole interval says that it costs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "bench.yaml"
WARMUP = 2
RATE_HZ = 16_000

Call = Callable[[], object]


def encoder(reuse: str, length_s: float, *, trains: bool = False, batch_size: int = 1) -> Call:
    """A forward pass of Conformer-M, with the gradient where it ``trains``."""
    import torch

    from asr.cli.compose import compose_recipe
    from asr.model.build import build_encoder

    torch.manual_seed(0)
    module = build_encoder(compose_recipe(RECIPE, [f"reuse={reuse}"]), 80).train(trains)
    features_BTF = torch.randn(batch_size, round(100 * length_s), 80)
    lengths_B = torch.full((batch_size,), features_BTF.shape[1])
    if not trains:
        module.keep_between_calls()
        return partial(torch.inference_mode()(module.__call__), features_BTF, lengths_B)

    def step() -> None:
        module.zero_grad(set_to_none=True)
        module(features_BTF, lengths_B).frames_BTD.square().mean().backward()

    return step


def features() -> Call:
    """Log-mel features of half a minute of audio."""
    import torch

    from asr.cli.compose import compose_recipe
    from asr.model.build import build_frontend

    frontend = build_frontend(compose_recipe(RECIPE)).eval()
    waveforms_BN = torch.randn(1, 30 * RATE_HZ) / 10
    lengths_B = torch.tensor([waveforms_BN.shape[1]])
    return partial(torch.inference_mode()(frontend.__call__), waveforms_BN, lengths_B)


def greedy() -> Call:
    """Greedy CTC search of a batch, most frames blank."""
    import torch

    from asr.decode.greedy import GreedyDecoder

    torch.manual_seed(0)
    log_probs_BTV = (3 * torch.randn(16, 750, 500)).log_softmax(-1)
    log_probs_BTV[:, ::2, 0] = 0.0
    return partial(GreedyDecoder(), log_probs_BTV, torch.full((16,), 750))


def start() -> Call:
    """A process that shows the help of `asr transcribe`."""
    words = [sys.executable, "-m", "asr", "transcribe", "--help"]
    return partial(subprocess.run, words, check=True, stdout=subprocess.DEVNULL)


POINTS: dict[str, Callable[[], Call]] = {
    "encoder none 1 s": partial(encoder, "none", 1),
    "encoder none 5 s": partial(encoder, "none", 5),
    "encoder none 15 s": partial(encoder, "none", 15),
    "encoder probs 15 s": partial(encoder, "probs", 15),
    "encoder context 15 s": partial(encoder, "context", 15),
    "training step none 4 x 3 s": partial(encoder, "none", 3, trains=True, batch_size=4),
    "training step probs 4 x 3 s": partial(encoder, "probs", 3, trains=True, batch_size=4),
    "features 30 s": features,
    "greedy search 16 x 30 s": greedy,
    "start of a command": start,
}


def work() -> None:
    """Answer names of points on stdin by milliseconds on stdout, until stdin ends."""
    import time

    import torch

    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the code prints is no answer
    calls: dict[str, Call] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            if name not in calls:
                calls.clear()
                calls[name] = POINTS[name]()
            begin = time.perf_counter_ns()
            calls[name]()
            answer: dict[str, Any] = {"ms": (time.perf_counter_ns() - begin) / 1e6}
        except Exception as error:  # older code may lack what a point needs: that is an answer too
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A process that makes calls with the code in ``folder``."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder), "BENCH_THREADS": str(num_threads)}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--work"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time_ms(self, name: str) -> float:
        """One call of a point.

        Raises:
            RuntimeError: the code in the folder cannot make it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return float(answer["ms"])

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def unpacked(baseline: str) -> Iterator[Path]:
    """A folder with the code of a wheel or a revision.

    Raises:
        SystemExit: it is neither.
    """
    with tempfile.TemporaryDirectory() as folder:
        if baseline.endswith(".whl"):
            try:
                zipfile.ZipFile(baseline).extractall(folder)
            except (OSError, zipfile.BadZipFile) as error:
                raise SystemExit(f"{baseline}: not a wheel that can be read ({error})") from None
        else:
            words = ["git", "-C", str(ROOT), "archive", baseline, "asr", "configs"]
            done = subprocess.run(words, capture_output=True, check=False)
            if done.returncode:
                reason = done.stderr.decode().strip().splitlines()[-1]
                raise SystemExit(f"{baseline}: no wheel, and no revision of {ROOT} ({reason})")
            with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
                archive.extractall(folder, filter="data")
        yield Path(folder)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("baseline", help="git revision, or a wheel (FILE.whl)")
    parser.add_argument("--only", default="", metavar="TEXT", help="points with this in their name")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument(
        "--limit", type=float, default=3.0, help="percent that a call may cost (%(default)g)"
    )
    args = parser.parse_args()
    if args.rounds < 3 or args.threads < 1 or not args.limit >= 0:
        parser.error("allowed: --rounds 3 or more, --threads 1 or more, --limit 0 or more")
    if not any(args.only in name for name in POINTS):
        parser.error(f"--only {args.only}: in none of {', '.join(POINTS)}")
    return args


def main() -> int:
    args = arguments()
    slower = []
    with ExitStack() as stack:
        other = stack.enter_context(unpacked(args.baseline))
        from asr.profiling.hardware import describe_hardware, source_revision
        from asr.profiling.latency import Timing, ratio, ratio_interval

        workers = [Worker(folder, args.threads) for folder in (ROOT, other)]
        for worker in workers:
            stack.callback(worker.close)
        print(f"{'call':<28} {'ms':>8} {'before':>8}   ratio, 95 % over {args.rounds} rounds")
        for name in (name for name in POINTS if args.only in name):
            samples: tuple[list[float], list[float]] = ([], [])
            try:
                for index in range(WARMUP + args.rounds):
                    for worker, taken in zip(workers, samples, strict=True):
                        time_ms = worker.time_ms(name)
                        if index >= WARMUP:
                            taken.append(time_ms)
            except RuntimeError as error:
                print(f"{name:<28} not timed: {error}")
                continue
            now, before = map(Timing.from_samples, samples)
            value, interval = ratio(now, before), ratio_interval(now, before)
            assert interval is not None
            costs = value > 1 + args.limit / 100 and interval[0] > 1
            slower += [name] if costs else []
            print(
                f"{name:<28} {now.median_ms:8.3g} {before.median_ms:8.3g}   {value:.3f} "
                f"[{interval[0]:.3f}, {interval[1]:.3f}]{'  slower' if costs else ''}",
                flush=True,
            )
    print(f"{source_revision(ROOT / 'asr' / '__init__.py')} against {args.baseline}")
    print(describe_hardware(num_threads=args.threads))
    if slower:
        print(f"slower by more than {args.limit:g} %: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        raise SystemExit(main())
