"""`asr push`: upload a model package to the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.cli.options import add_plugin_argument
from asr.cli.run_folder import run_name
from asr.cli.run_summary import log
from asr.interop.hub import CardData, push, record_of, split_datasets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, name on the Hub, metadata of the card."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="model folder, or the run folder that holds it"
    )
    parser.add_argument("repository", metavar="OWNER/NAME", help="name on the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", metavar="ID", help="licence for the card, such as apache-2.0")
    parser.add_argument("--language", metavar="CODE", help="language for the card, such as en")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="SPLIT=OWNER/NAME",
        help="data set on the Hub of a test split, for the card and .eval_results (may be "
        "repeated)",
    )
    parser.add_argument(
        "--message", default="Upload a model of Encore", help="commit message (%(default)s)"
    )
    add_plugin_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Push the package, and print the name to load it by."""
    wer = record_of(args.folder).get("wer", {})
    data = CardData(
        name=run_name(args.folder),
        license=args.license,
        language=args.language,
        datasets=split_datasets(args.dataset),
        wer={split: float(each["wer"]) for split, each in wer.items()},
    )
    name = push(args.folder, args.repository, data, is_private=args.private, message=args.message)
    log("commands load it by:")
    print(name)
    return 0
