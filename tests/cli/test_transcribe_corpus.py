"""`asr transcribe --shards`: every recording once, whole, whatever dies; and training on it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from tests.decode.package import save_tiny_package, write_noise

from .runs import Command, environment
from .test_parent import wait_until_gone

NUM_FILES, NUM_TASKS = 500, 100
BAD = ("f007.wav", "f123.wav")
SBATCH = """#!/bin/bash
# Starts the jobs of an array as SLURM would, and prints their number.
for last; do :; done
most=$(sed -n 's/^#SBATCH --array=0-//p' "$last")
for task in $(seq 0 "$most"); do
  SLURM_ARRAY_TASK_ID=$task setsid bash "$last" > "$last.$task.txt" 2>&1 &
  echo $! >> "$last.pids"
done
echo 42
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 files, of which two are damaged."""
    folder = tmp_path_factory.mktemp("corpus") / "audio"
    for number in range(NUM_FILES):
        write_noise(folder / f"f{number:03d}.wav", 0.2 + 0.001 * (number % 40))
    for name in BAD:
        (folder / name).write_bytes(b"no audio")
    return folder


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def begun(*words: str | Path | int) -> subprocess.Popen[str]:
    """`python -m asr`, running."""
    return subprocess.Popen(
        [sys.executable, "-m", "asr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def command(
    corpus: Path, model: Path, out: Path, num_tasks: str = str(NUM_TASKS)
) -> list[str | Path]:
    return ["transcribe", corpus, "--model", model, "--shards", num_tasks, "--out", out]


def outputs(out: Path) -> dict[str, int]:
    """The finished tasks, and when each was written."""
    done = {path.stem for path in (out / "done").glob("*.json")}
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl") if path.stem in done}


def has(out: Path, num_tasks: int) -> bool:
    return len(outputs(out)) >= num_tasks


def check_whole(out: Path, corpus: Path) -> None:
    """Every recording once; the damaged ones with what is wrong."""
    lines = [json.loads(line) for path in out.glob("*.jsonl") for line in path.open()]
    assert sorted(line["audio_path"] for line in lines) == sorted(map(str, corpus.iterdir()))
    failed = {Path(line["audio_path"]).name for line in lines if "error" in line}
    assert failed == set(BAD)
    assert all(line["words"] for line in lines if "error" not in line)
    assert {path.name for path in out.iterdir() if path.is_dir()} <= {"done", "logs"}


def wait_for(happens: Callable[[], bool], longest_s: float = 90.0) -> None:
    begun_s = time.monotonic()
    while not happens():
        assert time.monotonic() - begun_s < longest_s
        time.sleep(0.002)


def test_killed_twice_and_finished_by_two_processes(
    asr: Command, model: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = command(corpus, model, out)
    before: dict[str, int] = {}
    for num_jobs in (1, 2):
        process = begun(*words, "--jobs", num_jobs)
        wait_for(partial(has, out, len(before) + 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(1.5)  # its processes look for it twice a second
        now = outputs(out)
        assert before.items() <= now.items()
        before = now
    time.sleep(0.5)
    assert outputs(out) == before
    assert 6 <= len(before) < NUM_TASKS
    variables = dict(os.environ)
    done = asr(*words, "--jobs", "2")
    assert done.code == 2
    assert os.environ == variables
    assert f"{NUM_TASKS} of {NUM_TASKS} tasks are done: {NUM_FILES} recordings" in done.err
    assert "2 recordings could not be read" in done.err
    assert before.items() <= outputs(out).items()
    check_whole(out, corpus)
    again = outputs(out)
    assert asr(*words).code == 2
    assert outputs(out) == again


def test_an_array_of_slurm(
    asr: Command, model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for sbatch runs the jobs here; two of three are killed, and it is called again."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    out = tmp_path / "my out"
    words = command(corpus, model, out)
    words += ["--jobs", "3", "--launcher", "slurm"]
    options = ["--launcher-options", "hours=0.5", "partition=cpu", "slurm.account=me"]

    written = asr(*words, *options)
    assert written.code == 0
    assert "no sbatch here" in written.err
    text = (out / "array.sbatch").read_text()
    for line in ("array=0-2", "time=30", "partition=cpu", "account=me", "requeue"):
        assert f"#SBATCH --{line}\n" in text

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}")
    pids = out / "array.sbatch.pids"
    for _ in range(2):
        pids.unlink(missing_ok=True)
        before = outputs(out)
        submitted = asr(*words)
        assert (submitted.code, "array job 42 of 3 jobs" in submitted.err) == (0, True)
        wait_for(partial(has, out, len(before) + 1))
        for pid in pids.read_text().split()[:2]:
            os.kill(int(pid), signal.SIGKILL)
        assert before.items() <= outputs(out).items()
    wait_for(partial(has, out, NUM_TASKS))
    for pid in pids.read_text().split():
        wait_until_gone(int(pid))
    done = asr(*words)
    assert (done.code, "recordings could not be read" in done.err) == (2, True)
    check_whole(out, corpus)


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'encore-asr[ray]'")
def test_actors_of_ray(model: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command(corpus, model, out, "40")
    words += ["--launcher", "ray", "--jobs", "2", "--launcher-options", "cpus=1"]
    process = begun(*words)
    wait_for(partial(has, out, 1), 200)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = outputs(out)
    wait_for(lambda: not _rays())
    done = begun(*words)
    _, err = done.communicate(timeout=300)
    assert done.returncode == 2, err
    assert before.items() <= outputs(out).items()
    check_whole(out, corpus)


def _rays() -> str:
    found = subprocess.run(
        ["pgrep", "-f", "ray::.*Worker"], capture_output=True, text=True, check=False
    )
    return found.stdout


def test_tasks_are_alike_and_the_longest_come_first(
    asr: Command, model: Path, corpus: Path, tmp_path: Path
) -> None:
    """By the seconds of a manifest; a file of several utterances is read once."""
    names = [f"f{number:03d}.wav" for number in range(10, 18)]
    lengths = [9.0, 8.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    rows = [
        CheckedUtterance(f"{name}-{part}", corpus / name, part * length / 2, length / 2, 8000, 1,
                         "", None, num_bytes=1)
        for name, length in zip(names, lengths, strict=True)
        for part in range(2)
    ]  # fmt: skip
    manifest = tmp_path / "all.jsonl.gz"
    write_manifest(rows, manifest)
    out = tmp_path / "out"
    words: list[str | Path] = ["transcribe", manifest, "--model", model, "--out", out]
    assert asr(*words, "--shards", "2").code == 0
    tasks = json.loads((out / "tasks.json").read_text())["tasks"]
    held = dict(zip(names, lengths, strict=True))
    seconds = [[held[Path(path).name] for path in task] for task in tasks]
    assert [sum(task) for task in seconds] == [13.0, 13.0]
    assert all(task == sorted(task, reverse=True) for task in seconds)

    for other, said in (
        (["--shards", "3"], "begun with 2 tasks, not 3"),
        (["--shards", "2", "--overlap", "2"], "begun with --overlap 4.0, not 2.0"),
        (["--shards", "2", corpus / "f030.wav"], "1 recordings are not among its 8"),
    ):
        refused = asr(*words, *other)
        assert (refused.code, said in refused.err) == (2, True), refused.err
    assert asr(*words).code == 0  # the same files without tasks
    assert len(list(out.glob("*.txt"))) == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shards", "2"], "--shards N needs --out DIR"),
        (["--jobs", "2"], "--jobs needs --shards N"),
        (["--launcher", "slurm"], "--launcher needs --shards N"),
        (["--shards", "0", "--out", "o"], "allowed: a whole number from 1"),
        (["--shards", "2", "--out", "o", "--format", "srt"], "allowed: json"),
        (["--shards", "2", "--out", "o", "--timing"], "--timing has no effect with --shards"),
        (["--shards", "2", "--out", "o", "--launcher-options", "hours=1"], "slurm or ray"),
        (["-", "--shards", "2", "--out", "o"], "standard input"),
    ],
)
def test_options_that_do_not_go_together(
    asr: Command, model: Path, tmp_path: Path, options: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = write_noise(tmp_path / "a.wav", 0.3)
    refused = asr("transcribe", path, "--model", model, *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not (tmp_path / "o" / "tasks.json").exists()


def test_what_a_model_is_sure_of_becomes_a_manifest(asr: Command, tmp_path: Path) -> None:
    """Short recordings whole, long ones cut in pauses; the rest is counted."""
    for name, length in (("a", 1.0), ("b", 1.0), ("long", 40.0), ("quiet", 1.0)):
        write_noise(tmp_path / "audio" / f"{name}.wav", length)

    def line(name: str, duration_s: float, *words: tuple[str, float, float, float]) -> str:
        fields = [
            {"word": word, "start_s": start, "end_s": end, "confidence": sure}
            for word, start, end, sure in words
        ]
        path = str(tmp_path / "audio" / f"{name}.wav")
        text = " ".join(word for word, *_ in words)
        found = {"audio_path": path, "duration_s": duration_s, "text": text, "words": fields}
        return json.dumps(found) + "\n"

    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "tasks.json").write_text("{}")
    (folder / "00000.jsonl").write_text(
        line("a", 1.0, ("go", 0.1, 0.3, 0.99), ("on", 0.4, 0.8, 0.91))
        + line("b", 1.0, ("stop", 0.1, 0.3, 0.5))
        + line("quiet", 1.0)
        + json.dumps({"audio_path": "c.wav", "error": "c.wav: empty"})
        + "\nno json\n"
    )
    (folder / "00001.jsonl").write_text(
        line(
            "long", 40.0,
            ("one", 0.05, 1.0, 1.0), ("two", 1.1, 2.0, 1.0), ("three", 10.0, 11.0, 0.2),
            ("four", 11.8, 12.0, 0.95),
        )
    )  # fmt: skip
    done = asr("prepare", "transcripts", folder, "--out", tmp_path / "data")
    assert done.code == 0, done.err
    found = [
        (one.utterance_id, one.start_s, one.duration_s, one.text)
        for one in read_manifest(tmp_path / "data" / "train.jsonl.gz")
    ]
    assert found == [
        ("a", 0.0, 1.0, "go on"),
        ("long@0.025", 0.025, 2.175, "one two"),
        ("long@11.6", 11.6, 0.6, "four"),
    ]
    said = done.out + done.err
    assert "left out: 2 utterances" in said
    assert "1 recordings without words" in said
    assert "not transcribed: c.wav: empty" in said
    everything = asr(
        *("prepare", "transcripts", folder, "--out", tmp_path / "all", "--min-confidence", "0")
    )
    assert everything.code == 0
    assert len(read_manifest(tmp_path / "all" / "train.jsonl.gz")) == 5
