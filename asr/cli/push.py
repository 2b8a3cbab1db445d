"""`asr push`: a model package on the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.cli.options import add_plugin_argument
from asr.cli.run_folder import run_name
from asr.cli.run_summary import log
from asr.interop.hub import CardData, push, record_of, split_datasets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, name on the Hub, what the card says."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="model folder, or the run folder that holds it"
    )
    parser.add_argument("repository", metavar="OWNER/NAME", help="name on the Hub")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    parser.add_argument("--license", metavar="ID", help="such as apache-2.0, for the card")
    parser.add_argument("--language", metavar="CODE", help="such as en, for the card")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="SPLIT=OWNER/NAME",
        help="data set on the Hub that a test split is, for the card and .eval_results (may be "
        "given again)",
    )
    parser.add_argument(
        "--message", default="Upload a model of Encore", help="of the commit (%(default)s)"
    )
    add_plugin_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Push the package, print the name that it loads by."""
    wer = record_of(args.folder).get("wer", {})
    data = CardData(
        name=run_name(args.folder),
        license=args.license,
        language=args.language,
        datasets=split_datasets(args.dataset),
        wer={split: float(each["wer"]) for split, each in wer.items()},
    )
    name = push(args.folder, args.repository, data, is_private=args.private, message=args.message)
    log("it loads wherever a model is named:")
    print(name)
    return 0
