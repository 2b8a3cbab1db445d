from __future__ import annotations

import argparse
import errno
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch

import asr
from asr.cli import main as frame
from asr.cli.parser import Parser
from asr.errors import InputError, RunError

Run = Callable[[argparse.Namespace], int]


def stand_in(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Makes every verb one that takes a recipe, overrides and --resume, and calls ``run``."""

    def add_arguments(parser: Parser) -> None:
        parser.add_argument("recipe")
        parser.add_argument("overrides", nargs="*")
        parser.add_argument("--resume", action="store_true")

    module = ModuleType("verb")
    module.__dict__.update(add_arguments=add_arguments, run=run)
    monkeypatch.setattr(frame, "_load", lambda verb: module)


def raising(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main([]) == 0
    shown = capsys.readouterr().out
    for verb, summary in frame.VERBS.items():
        assert f"  {verb}" in shown
        assert summary in shown
    assert list(frame.VERBS) == [
        *(
            "prepare",
            "train",
            "config",
            "transcribe",
            "serve",
            "align",
            "evaluate",
            "compare",
            "bench",
        ),
        *("analyze", "convert", "import", "inspect", "lm", "push", "export"),
    ]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        frame.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith(f"asr {asr.__version__}, Python ")


def test_python_m_asr_is_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "asr", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith(f"asr {asr.__version__}, Python ")


def test_an_unknown_verb_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(["trian"]) == 2
    assert capsys.readouterr().err == "asr: error: unknown command trian; did you mean train?\n"
    assert frame.main(["xyz"]) == 2
    assert "choose one of prepare, train" in capsys.readouterr().err


def test_overrides_may_stand_on_both_sides_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 5

    stand_in(monkeypatch, run)
    assert frame.main(["train", "a.yaml", "x=1", "--resume", "y=2"]) == 5
    (args,) = seen
    assert (args.recipe, args.overrides, args.resume) == ("a.yaml", ["x=1", "y=2"], True)


def test_warnings_of_libraries_are_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        for _ in range(2):
            warnings.warn_explicit("odd\nshape", UserWarning, "/x/site-packages/torch/a.py", 3)
        warnings.warn_explicit("going away", FutureWarning, "/x/site-packages/torch/a.py", 4)
        return 0

    stand_in(monkeypatch, run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert frame.main(["train", "a.yaml"]) == 0
    assert capsys.readouterr().err == "asr train: warning from torch: odd shape\n"


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    stand_in(monkeypatch, run)
    words = ["my recipe.yaml", "splits.test=[test]", "a='x y'", "name=caf\udce9\n", "s=it's é"]
    assert frame.main(["train", *words, "--resume"]) == 0
    command = seen[0].command
    assert command.isprintable()
    echoed = subprocess.run(
        ["bash", "-c", command.replace("asr train", "printf '%s\\0'", 1)], capture_output=True
    )
    said = os.fsdecode(echoed.stdout).split("\0")
    assert said == [*words, "--resume", ""]


@pytest.mark.parametrize(
    ("words", "against", "overrides"),
    [
        (["r.yaml", "--against", "a", "b", "x=1"], ["a", "b"], ["x=1"]),
        (["--against", "a", "r.yaml", "x=1"], ["a"], ["x=1"]),
        (["r.yaml", "--against", "a", "x=1", "--against", "b"], ["a", "b"], ["x=1"]),
        (["r.yaml", "--against=a", "x=1"], ["a"], ["x=1"]),
        (["r.yaml", "x=1", "--against", "a", "--resume"], ["a"], ["x=1"]),
        (["r.yaml", "--", "x=1"], [], ["x=1"]),
    ],
)
def test_an_option_of_several_values_leaves_overrides_alone(
    words: list[str], against: list[str], overrides: list[str]
) -> None:
    parser = Parser(prog="asr")
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--resume", action="store_true")
    parser.add_list("--against", ends=lambda word: "=" in word or word.endswith(".yaml"))
    args = parser.parse_args(words)
    assert (args.recipe, args.against, args.overrides) == ("r.yaml", against, overrides)


def test_an_option_of_several_values_needs_one(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="asr")
    parser.add_argument("overrides", nargs="*")
    parser.add_list("--against", ends=lambda word: "=" in word)
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(["--against", "x=1"])
    assert exit_.value.code == 2
    assert "argument --against: expected one or more values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.yaml", "--resum"], "unknown argument --resum; did you mean --resume?"),
        (["a.yaml", "--x=1"], "unknown argument --x (see `asr train --help`)"),
        ([], "the following arguments are required: recipe"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, raising(AssertionError("must not run")))
    with pytest.raises(SystemExit) as exit_:
        frame.main(["train", *words])
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("asr train: error: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a.wav: empty"), 2, "asr train: error: a.wav: empty\n"),
        (
            OSError(errno.EACCES, "Permission denied", "runs"),
            2,
            "asr train: error: runs: Permission denied\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs"),
            3,
            "asr train: error: runs: no space left on the disk (1.5 MiB free); make room there\n",
        ),
        (RunError("out of memory"), 3, "asr train: error: out of memory\n"),
        (KeyboardInterrupt(), 130, "asr train: interrupted\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.5 * 2**20))
    stand_in(monkeypatch, raising(error))
    assert frame.main(["train", "a.yaml"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("take", "size"),
    [
        (lambda: torch.empty(1 << 50, dtype=torch.uint8), " (1048576.0 GiB wanted at once)"),
        (lambda: bytearray(1 << 60), ""),
        (
            partial(
                raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
                argparse.Namespace(),
            ),
            " (2.00 GiB wanted at once)",
        ),
    ],
    ids=["cpu", "python", "gpu"],
)
def test_memory_that_runs_out_is_one_line(
    take: Callable[..., object],
    size: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in(monkeypatch, lambda _: int(take() is None))
    assert frame.main(["bench", "a.yaml"]) == 3
    assert capsys.readouterr().err == (
        f"asr bench: error: out of memory{size}; make audio, chunks, batches or the model smaller\n"
    )


@pytest.mark.parametrize("bug", [ValueError("bug"), FileNotFoundError("bug"), RuntimeError("bug")])
def test_a_bug_keeps_its_traceback(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, raising(bug))
    with pytest.raises(type(bug), match="bug"):
        frame.main(["train", "a.yaml"])


def test_a_reader_that_leaves_is_no_error() -> None:
    script = (
        "import sys, types\n"
        "from asr.cli import main as frame\n"
        "verb = types.ModuleType('verb')\n"
        "verb.add_arguments = lambda parser: None\n"
        "verb.run = lambda args: [print('line ' * 100) for _ in range(10_000)] and 0\n"
        "frame._load = lambda name: verb\n"
        "sys.exit(frame.main(['bench']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_the_version_names_torch_and_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        frame.main(["--version"])
    assert ended.value.code == 0
    assert f"torch {torch.__version__}" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        frame.main(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("transcribe", "--model", "librispeech", "--run-dir"))
