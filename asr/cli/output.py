"""Output of tables: to the terminal, and to files on request."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asr.files import check_folder, check_json, write_text
from asr.report.comparison import compare
from asr.report.further_tables import (
    against_table,
    batch_table,
    breakdown_table,
    decoding_table,
    group_table,
    roofline_table,
    scaling_table,
)
from asr.report.hypotheses import ScoredUtterance, WerDifference
from asr.report.notes import origin_notes, unscored, unscored_text
from asr.report.record import RunRecord
from asr.report.row_json import write_rows
from asr.report.streaming_table import streaming_table


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for tables: files and columns."""
    parser.add_argument("--json", metavar="FILE", help="write one row per run as JSON (- : stdout)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write report.html, table.md, table.csv and rows.json here, and streaming.csv if "
        "streams were timed",
    )
    parser.add_argument(
        "--by-run", action="store_true", help="print a row for every run, not for every schedule"
    )
    parser.add_argument(
        "--all-lengths",
        action="store_true",
        help="print figures for every timed length of audio, not for one",
    )
    parser.add_argument(
        "--allow-unlike",
        action="store_true",
        help="print the table despite different hardware, splits or budgets, with a warning",
    )


def check_outputs(args: argparse.Namespace) -> None:
    """Raise InputError before the work begins if ``--json`` or ``--out`` cannot be written."""
    if args.out:
        check_folder(args.out)
    check_json(args.json)


def exit_code(records: Sequence[RunRecord]) -> int:
    """Return 0, or 2 after a message on stderr if utterances could not be scored.

    `asr transcribe` does the same for unreadable files.
    """
    lost = [(record.run, *each) for record in records for each in unscored(record).items()]
    for run, split, counts in lost:
        print(f"{run}: {unscored_text(split, counts)}", file=sys.stderr)
    return 2 if lost else 0


def print_table(
    records: Sequence[RunRecord],
    args: argparse.Namespace,
    differences: Sequence[WerDifference] = (),
    examples: Mapping[str, Sequence[ScoredUtterance]] | None = None,
) -> None:
    """Print the table of ``records`` and the tables of further measurements; write the files.

    ``examples`` are the utterances of a single run by split; its page shows the worst of them.
    With ``--json -`` rows go to stdout and the tables to stderr.
    """
    makers = (
        group_table,
        decoding_table,
        batch_table,
        against_table,
        roofline_table,
        scaling_table,
    )
    further = [table for make in makers if (table := make(records))]
    streams = streaming_table(records)
    if streams:
        further.append(streams)
    every_part = breakdown_table(records)
    known = {"allow_unlike": args.allow_unlike, "differences": differences}
    shown = compare(
        records, by_run=args.by_run, all_lengths=args.all_lengths, with_origins=False, **known
    )
    whole = compare(records, with_origins=False, **known)
    stream = sys.stderr if args.json == "-" else sys.stdout
    width = shutil.get_terminal_size((120, 24)).columns
    parts = breakdown_table(records, all_lengths=args.all_lengths)
    printed = [shown, *([parts] if parts else []), *further]
    texts = [table.text(width=width) for table in printed]
    print("\n".join([*texts, *origin_notes(records)]), file=stream)
    if args.json:
        write_rows(records, args.json, differences)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        by_schedule = compare(records, by_run=False, all_lengths=False, with_origins=False, **known)
        tables = [by_schedule, replace(whole, verdict=(), notes=()), *further]
        if every_part:
            tables.append(every_part)
        markdown = [table.markdown() for table in tables]
        markdown.append("".join(f"- {note}\n" for note in origin_notes(records)))
        (args.out / "table.md").write_text("\n".join(markdown), encoding="utf-8")
        (args.out / "table.csv").write_text(whole.csv(), encoding="utf-8")
        if streams:
            (args.out / "streaming.csv").write_text(streams.csv(), encoding="utf-8")
        write_rows(records, args.out / "rows.json", differences)
        from asr.report.pages.comparison import comparison_page

        write_text(args.out / "report.html", comparison_page(records, differences, examples))
        print(f"report.html, table.md, table.csv and rows.json are in {args.out}", file=sys.stderr)
