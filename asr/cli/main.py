"""The `asr` command: dispatch to the modules of its verbs, exit codes and error messages.

A verb is a module ``asr.cli.<verb>`` with ``add_arguments(parser)`` and ``run(args) -> int``. Only
the module of the given verb is imported, so `asr --help` is fast and `asr transcribe` does not
import training code.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import platform
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import shtab

import asr
from asr.cli.parser import Parser, command_text, did_you_mean
from asr.cli.terminal import flush_streams, prepare_streams
from asr.errors import InputError, RunError, is_out_of_memory, printable
from asr.files import NO_SPACE, no_space
from asr.model.plugins import named

VERBS = {
    "prepare": "make manifests of a public corpus, your own audio, or a synthetic corpus",
    "train": "train a recogniser from a recipe",
    "config": "print the resolved config of a recipe, with the meaning and type of every key",
    "transcribe": "transcribe audio files to text, JSON or subtitles",
    "serve": "run a local server with OpenAI's transcription API and a web page",
    "align": "print the time of every word of a known text",
    "evaluate": "measure word error rate beside encoder latency",
    "compare": "train several reuse schedules and print one table",
    "bench": "measure encoder latency without training",
    "analyze": "measure the attention of a model, and suggest a reuse schedule",
    "convert": "give a model trained without reuse a reuse schedule",
    "import": "convert a model of NeMo or transformers to a model package",
    "inspect": "print the contents of a model package, without building the model",
    "lm": "estimate an n-gram language model from text",
    "push": "upload a model package to the Hugging Face Hub",
    "export": "write a model as one ONNX file or for transformers, and compare with the original",
}
MODULES = {"import": "import_model", "inspect": "inspect_model"}
"""Modules of verbs that are Python keywords or modules."""

_EXIT_INPUT = 2
_EXIT_BROKEN = 3
_EXIT_INTERRUPT = 130  # 128 + SIGINT, what a shell reports
_EXIT_PIPE = 141  # 128 + SIGPIPE
_MENDABLE = (  # of system calls, by a user
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    *(errno.ELOOP, errno.EMFILE, errno.EBADF, errno.EIO),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0; 2 for input that the user can correct; 3 for work that failed; 130 for Ctrl-C.
    """
    prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _command(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"asr {words[0]}: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPT
    except BrokenPipeError:  # the reader has closed the pipe: `asr … | head`
        return _EXIT_PIPE
    finally:
        flush_streams()


def build_parser(verb: str) -> Parser:
    """Build the parser of one verb."""
    return _parser(verb, _load(verb))


def _command(words: Sequence[str]) -> int:
    if not words or words[0].startswith("-"):
        _frame().parse_args(words)
        _frame().print_help()
        return 0
    verb = words[0]
    if verb not in VERBS:
        hint = did_you_mean(verb, VERBS) or f"; choose one of {', '.join(VERBS)}"
        print(f"asr: error: unknown command {printable(verb)}{hint}", file=sys.stderr)
        return _EXIT_INPUT
    return _run(verb, words[1:])


def _run(verb: str, words: Sequence[str]) -> int:
    module = _load(verb)
    args = _parser(verb, module).parse_args(words)
    args.words = list(words)
    args.command = command_text(["asr", verb, *words])

    show_warnings_in_a_line(verb)
    try:
        with named(getattr(args, "plugin", ())):
            _fetch_model(args)
            code = int(module.run(args))
        sys.stdout.flush()
    except InputError as error:
        return _fail(verb, str(error))
    except RunError as error:
        return _fail(verb, str(error), _EXIT_BROKEN)
    except OSError as error:
        where = error.filename or "output"
        if error.errno in NO_SPACE:
            return _fail(verb, f"{where}: {no_space(Path(str(where)))}", _EXIT_BROKEN)
        if error.errno not in _MENDABLE:
            raise
        return _fail(verb, f"{where}: {error.strerror}")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(verb, out_of_memory(error), _EXIT_BROKEN)
    return code


def out_of_memory(error: BaseException) -> str:
    """Describe an out-of-memory error, with advice."""
    asked = re.search(r"(\d+) bytes|allocate ([\d.]+ [KMG]iB)", str(error))
    size = ""
    if asked:
        size = f" ({asked[2] or f'{int(asked[1]) / 2**30:.1f} GiB'} wanted at once)"
    return f"out of memory{size}; make audio, chunks, batches or the model smaller"


def _fetch_model(args: argparse.Namespace) -> None:
    """Replace ``--model hf://…`` by the cached folder of the model."""
    if str(getattr(args, "model", None)).startswith("hf:/"):
        from asr.interop.hub import local_model

        args.model = local_model(args.model)


def show_warnings_in_a_line(verb: str) -> None:
    """Show later warnings of libraries once each, in one line with the library's name.

    Deprecation warnings are for programmers and are not shown.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        parts = Path(filename).parts
        where = parts[parts.index("site-packages") + 1] if "site-packages" in parts else "asr"
        text = " ".join(str(message).split())
        said = f"asr {verb}: warning from {where.removesuffix('.py')}: {text}"
        if said not in shown:
            shown.add(said)
            print(said, file=file or sys.stderr)

    shown: set[str] = set()
    warnings.showwarning = show
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


def _load(verb: str) -> ModuleType:
    return importlib.import_module(f"asr.cli.{MODULES.get(verb, verb)}")


def _parser(verb: str, module: ModuleType) -> Parser:
    summary = VERBS[verb]
    parser = Parser(prog=f"asr {verb}", description=f"{summary[0].upper()}{summary[1:]}.")
    module.add_arguments(parser)
    return parser


def _fail(verb: str, message: str, code: int = _EXIT_INPUT) -> int:
    print(f"asr {verb}: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _frame() -> Parser:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    parser = Parser(
        prog="asr",
        usage="asr [-h] [--version] COMMAND …",
        description="Encore: speech recognition that computes attention once and plays it again.",
        epilog=f"commands:\n{verbs}\n\n`asr COMMAND --help` describes one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=PrintVersion, help="print the versions of asr and torch, and the device"
    )
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=shtab.SUPPORTED_SHELLS,
        help="print the completion script for this shell",
    )
    return parser


class PrintVersion(argparse.Action):
    """Option that prints the versions of asr, Python and torch and the device, and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, *_: object) -> None:
        """Print and exit; import torch only here, to keep `asr --help` fast."""
        import torch

        from asr.profiling.hardware import describe_hardware

        hardware = describe_hardware("cuda" if torch.cuda.is_available() else "cpu")
        versions = f"Python {platform.python_version()}, torch {torch.__version__}"
        print(f"asr {asr.__version__}, {versions}, {hardware}")
        sys.exit(0)


class PrintCompletion(argparse.Action):
    """Option that prints a shell's completion script for all commands and options, and exits."""

    def __call__(self, _: object, __: object, shell: Any, ___: object = None) -> None:
        """Build the parsers of all commands, print their script and exit."""
        parser = _frame()
        commands = parser.add_subparsers()
        for verb, summary in VERBS.items():
            child = commands.add_parser(verb, help=summary)
            _load(verb).add_arguments(child)
            _complete_files(child)
        print(shtab.complete(parser, shell))
        sys.exit(0)


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Complete arguments that are paths with file names."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _complete_files(child)
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
