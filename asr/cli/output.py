"""Where a command's table goes: the terminal, and files on request."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.atomic import write_text
from asr.cli.places import check_folder, check_json
from asr.report.against import against_table
from asr.report.breakdown import breakdown_table
from asr.report.comparison import compare
from asr.report.difference import WerDifference
from asr.report.html.page import page
from asr.report.record import RunRecord
from asr.report.roofline import roofline_table
from asr.report.rows import write_rows
from asr.report.scaling_table import scaling_table


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``, ``--out`` and ``--allow-unlike``."""
    parser.add_argument("--json", metavar="FILE", help="write one row per run as JSON (- : stdout)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write report.html, table.md, table.csv and rows.json here",
    )
    parser.add_argument(
        "--allow-unlike",
        action="store_true",
        help="print a table of runs with unlike hardware, splits or budgets, with a warning",
    )


def check_outputs(args: argparse.Namespace) -> None:
    """Raise InputError where ``--json`` or ``--out`` cannot be written, before the work begins."""
    if args.out:
        check_folder(args.out)
    check_json(args.json)


def print_table(
    records: Sequence[RunRecord],
    args: argparse.Namespace,
    differences: Sequence[WerDifference] = (),
) -> None:
    """Print the table of ``records`` and those of what was timed besides; write the files.

    With ``--json -`` rows go to stdout and the tables to stderr.
    """
    table = compare(records, allow_unlike=args.allow_unlike, differences=differences)
    further = (against_table, breakdown_table, roofline_table, scaling_table)
    tables = [table, *(each for make in further if (each := make(records)))]
    stream = sys.stderr if args.json == "-" else sys.stdout
    width = shutil.get_terminal_size((120, 24)).columns
    print("\n".join(each.text(width=width) for each in tables), file=stream)
    if args.json:
        write_rows(records, args.json, differences)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        markdown = "\n".join(each.markdown() for each in tables)
        (args.out / "table.md").write_text(markdown, encoding="utf-8")
        (args.out / "table.csv").write_text(table.csv(), encoding="utf-8")
        write_rows(records, args.out / "rows.json", differences)
        write_text(args.out / "report.html", page(records, differences))
        print(f"report.html, table.md, table.csv and rows.json are in {args.out}", file=sys.stderr)
