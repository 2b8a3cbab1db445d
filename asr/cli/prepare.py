"""`asr prepare`: make manifests of a corpus, and a page about them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from asr.cli.options import jobs, seed, utterances
from asr.cli.prepare_formats import add_formats, add_transcripts
from asr.cli.prepare_public import add_public
from asr.data.summary import PrepareSummary, Skipped
from asr.files import write_text

SUMMARY_PAGE = "summary.html"


def write_page(
    summary: PrepareSummary,
    *,
    changed: Sequence[Skipped] = (),
    unknown: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write ``summary.html`` beside the manifests."""
    from asr.report.pages.corpus import Summary, corpus_page

    record = cast(Summary, asdict(summary))
    written = corpus_page(
        summary.out.resolve().name,
        record,
        changed=[{"where": one.where, "reason": one.reason} for one in changed],
        unknown=unknown,
    )
    write_text(summary.out / SUMMARY_PAGE, written)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command per kind of corpus, with the function that runs it."""
    corpora = parser.add_subparsers(dest="corpus", metavar="CORPUS", required=True)

    folder = corpora.add_parser(
        "folder",
        help="your own audio with transcripts",
        description="Manifests of a folder in LibriSpeech layout, or of any audio files with a "
        "TSV or JSONL of transcripts. Bad files are named, counted and skipped.",
    )
    folder.add_argument("source", type=Path, metavar="FOLDER")
    folder.add_argument(
        "--transcripts",
        type=Path,
        metavar="FILE",
        help="TSV or JSONL with columns audio, text, optionally id, speaker, split, and for parts "
        "of files start_s and end_s or duration_s (offset, begin, start_time, start_ms, …)",
    )
    folder.add_argument(
        "--labels",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=[],
        metavar="NAME[,NAME...]",
        help="columns of the table to keep, such as accent,gender, for `asr evaluate --by`",
    )
    folder.add_argument("--split", action="append", dest="splits", help="keep only this split")
    folder.add_argument(
        "--strict", action="store_true", help="a bad file is an error, and nothing is written"
    )
    folder.add_argument("--out", type=Path, metavar="DIR", help="default: data/<name of FOLDER>")
    folder.add_argument("--jobs", type=jobs, default=2, help="files read at once (%(default)s)")
    folder.set_defaults(prepare=_folder)

    synthetic = corpora.add_parser(
        "synthetic",
        help="a synthetic corpus, spoken offline by espeak-ng",
        description="Speaks sentences of a small grammar; voices and sentences are disjoint "
        "between splits. Needs `pip install 'encore-asr[synthetic]'`.",
    )
    synthetic.add_argument("--out", type=Path, default=Path("data/synthetic"), metavar="DIR")
    synthetic.add_argument(
        "--sentences",
        type=Path,
        metavar="FILE",
        help="speak these sentences, one per line, in every split",
    )
    synthetic.add_argument("--num-train", type=utterances, default=3600, metavar="N")
    synthetic.add_argument("--num-dev", type=utterances, default=300, metavar="N")
    synthetic.add_argument("--num-test", type=utterances, default=300, metavar="N")
    synthetic.add_argument("--seed", type=seed, default=2024)
    synthetic.add_argument("--jobs", type=jobs, default=2, help="processes (%(default)s)")
    synthetic.set_defaults(prepare=_synthetic)

    add_public(corpora)
    add_formats(corpora)
    add_transcripts(corpora)


def run(args: argparse.Namespace) -> int:
    """Prepare the requested corpus and report the summary."""
    args.prepare(args)
    return 0


def _folder(args: argparse.Namespace) -> None:
    from asr.data.folder import prepare_folder
    from asr.files import check_folder

    out = args.out or Path("data") / args.source.resolve().name
    check_folder(out)
    summary = prepare_folder(
        args.source,
        out,
        transcripts=args.transcripts,
        splits=args.splits,
        labels=args.labels,
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _synthetic(args: argparse.Namespace) -> None:
    from asr.data.synthetic.prepare import prepare_synthetic
    from asr.files import check_folder

    check_folder(args.out)
    summary = prepare_synthetic(
        args.out,
        num_train=args.num_train,
        num_dev=args.num_dev,
        num_test=args.num_test,
        seed=args.seed,
        num_jobs=args.jobs,
        sentences=args.sentences,
    )
    write_page(summary)
