"""Mutated files through whole commands: an exit code that is documented, no traceback, bounded.

The suite runs a few of each kind. `ASR_FUZZ=100 pytest -s tests/cli/test_fuzz.py` runs a hundred
of each (three hundred of audio) and prints a table: what was read, what was refused, and the
most CPU time and memory of a process.
"""

from __future__ import annotations

import gzip
import os
import random
import select
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from asr.cli.main import main
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.interop.onnx.export import Exported
from asr.model.package import load_package, save_package
from asr.text.tokenizer import Tokenizer
from tests.audio.recordings import encoded, speech_like
from tests.audio.test_damaged_files import FORMATS
from tests.model.configs import CONFIG, SAMPLE_RATE_HZ, tiny_model
from tests.mutations import mutate_package, mutated_audio, mutated_bytes, mutated_text

CASES = int(os.environ.get("ASR_FUZZ", "3"))
LONGEST_S = 30.0  # of CPU
PATIENCE_S = 300.0  # of a process that waits for something, or for a busy machine
MOST_MIB = 1024.0  # beside what a process has before it reads anything
DOCUMENTED = {0, 2, 3}  # of asr.cli.main.main

Case = Callable[[Path, random.Random], Sequence[str | Path]]
"""Writes a mutated file into a folder, and gives the words of a command that reads it."""


class Ended(NamedTuple):
    code: int
    text: str
    cpu_s: float
    peak_mib: float


class Files(NamedTuple):
    """What is mutated; each test writes into a folder of its own."""

    package: Path
    onnx: bytes
    audio: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("fuzz")
    tokenizer = Tokenizer.train(["the cat sat on the mat", "a dog"], kind="char", vocab_size=30)
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    save_package(folder / "model", model=model, tokenizer=tokenizer, config=CONFIG, card="")
    exported = Exported(load_package(folder / "model"))
    audio = folder / "speech.wav"
    audio.write_bytes(encoded(speech_like(1.0, rate_hz=SAMPLE_RATE_HZ), rate_hz=SAMPLE_RATE_HZ))
    return Files(folder / "model", exported.float32, audio)


def run(words: Sequence[str | Path], log: Path) -> Ended:
    """Runs a command in a process of its own, forked: nothing is imported anew."""
    before_mib = inherited_mib()
    process = os.fork()
    if process == 0:
        code = 99
        try:
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            torch.set_num_threads(1)
            code = main(list(map(str, words)))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 98
        except BaseException:
            with log.open("a") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(code)
    handle = os.pidfd_open(process)
    ended, _, _ = select.select([handle], [], [], PATIENCE_S)
    os.close(handle)
    if not ended:
        os.kill(process, 9)
    _, status, usage = os.wait4(process, 0)
    return Ended(
        os.waitstatus_to_exitcode(status),
        log.read_text(errors="replace"),
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024 - before_mib,
    )


def inherited_mib() -> float:
    """Memory of a process that does nothing: that of all tests before, in the suite."""
    process = os.fork()
    if process == 0:
        os._exit(0)
    return os.wait4(process, 0)[2].ru_maxrss / 1024


def fuzz(
    kind: str, count: int, case: Callable[[Path, random.Random], Sequence[str | Path]], folder: Path
) -> None:
    """Runs ``count`` cases of one kind, each from a seed of its own; prints a row of the table."""
    ends = []
    for seed in range(count):
        place = folder / str(seed)
        place.mkdir()
        words = case(place, random.Random(f"{kind} {seed}"))
        end = run(words, folder / f"{seed}.log")
        what = f"{kind} {seed}: {' '.join(map(str, words))}: exit {end.code}, {end.cpu_s:.1f} s"
        assert end.code in DOCUMENTED, f"{what}\n{end.text}"
        assert "Traceback" not in end.text, f"{what}\n{end.text}"
        assert end.cpu_s < LONGEST_S, what
        assert end.peak_mib < MOST_MIB, f"{what}, {end.peak_mib:.0f} MiB"
        ends.append(end)
        shutil.rmtree(place)
    read = sum(end.code == 0 for end in ends)
    print(
        f"\n{kind:10} {count:4} files, {read:4} read, {count - read:4} refused, "
        f"at most {max(end.cpu_s for end in ends):.1f} s of CPU "
        f"and {max(end.peak_mib for end in ends):.0f} MiB"
    )


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_audio(files: Files, tmp_path: Path) -> None:
    sound = speech_like(1.5, rate_hz=SAMPLE_RATE_HZ)
    formats = list(FORMATS.values())

    def case(folder: Path, generator: random.Random) -> Sequence[str | Path]:
        container, coding = generator.choice(formats)
        path = folder / f"a.{container.lower()}"
        path.write_bytes(
            mutated_audio(encoded(sound, container, coding, SAMPLE_RATE_HZ), generator)
        )
        return ["transcribe", path, "--model", files.package]

    fuzz("audio", 3 * CASES, case, tmp_path)


def test_manifests(files: Files, tmp_path: Path) -> None:
    def case(folder: Path, generator: random.Random) -> Sequence[str | Path]:
        path = folder / "m.jsonl.gz"
        size = files.audio.stat().st_size
        write_manifest(
            [
                CheckedUtterance(
                    f"u{index}", files.audio, 0.5 * index, 0.5, SAMPLE_RATE_HZ, 1, "a cat", "ann",
                    num_bytes=size,
                )
                for index in range(2)
            ],
            path,
        )  # fmt: skip
        if generator.random() < 0.7:
            path.write_bytes(
                gzip.compress(mutated_text(gzip.decompress(path.read_bytes()), generator))
            )
        else:
            path.write_bytes(mutated_text(path.read_bytes(), generator))
        return ["evaluate", "--model", files.package, "--data", path, "--lengths"]

    fuzz("manifests", CASES, case, tmp_path)


def test_packages(files: Files, tmp_path: Path) -> None:
    def case(folder: Path, generator: random.Random) -> Sequence[str | Path]:
        package = Path(shutil.copytree(files.package, folder / "model"))
        mutate_package(package, generator)
        return ["transcribe", files.audio, "--model", package]

    fuzz("packages", CASES, case, tmp_path)


def test_onnx(files: Files, tmp_path: Path) -> None:
    def case(folder: Path, generator: random.Random) -> Sequence[str | Path]:
        path = folder / "model.onnx"
        path.write_bytes(mutated_bytes(files.onnx, generator))
        return ["transcribe", files.audio, "--model", path]

    fuzz("onnx", CASES, case, tmp_path)
