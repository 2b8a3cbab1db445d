"""`asr prepare nemo`, `kaldi`, `export`, `shards`, `summary`: importing and exporting manifests."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr.cli.options import count, fraction, jobs
from asr.data.progress import print_progress
from asr.errors import InputError

DATA_FORMATS = ("nemo", "kaldi")


def write_data_format(
    manifests: Sequence[Path],
    out: Path,
    *,
    format: str,
    report: Callable[[str], None] = print_progress,
) -> list[Path]:
    """Write ``<out>/<split>.json`` (nemo) or a folder ``<out>/<split>`` (kaldi) for each manifest.

    An utterance without its audio file is named and left out.
    """
    from asr.data.formats.export import read_for_export
    from asr.data.formats.kaldi import write_kaldi
    from asr.data.formats.nemo import write_nemo

    assert format in DATA_FORMATS
    splits = [manifest.name.partition(".")[0] for manifest in manifests]
    for split in splits:
        if splits.count(split) > 1:
            raise InputError(f"two manifests are named {split}; write them to separate folders")
    written = []
    for manifest, split in zip(manifests, splits, strict=True):
        utterances = read_for_export(manifest, report)
        path = out / (f"{split}.json" if format == "nemo" else split)
        if format == "nemo":
            write_nemo(utterances, path)
        else:
            write_kaldi(utterances, path)
        report(f"{split}: {len(utterances):,} utterances -> {path}")
        written.append(path)
    return written


def add_formats(corpora: Any) -> None:
    """Add the sub-commands for existing manifests."""
    nemo = corpora.add_parser(
        "nemo",
        help="NeMo manifests (JSON lines)",
        description="Imports manifests with audio_filepath, duration, text, optionally offset, id, "
        "speaker; each FILE is a split by its name. Bad rows are named, counted and skipped.",
    )
    nemo.add_argument("sources", type=Path, nargs="+", metavar="FILE")
    nemo.set_defaults(prepare=_import)
    kaldi = corpora.add_parser(
        "kaldi",
        help="Kaldi data folders",
        description="Imports folders with wav.scp, text, optionally utt2spk, segments; each is a "
        "split by its name. Commands in wav.scp are not run; like bad rows, they are named, "
        "counted and skipped.",
    )
    kaldi.add_argument("sources", type=Path, nargs="+", metavar="DIR")
    kaldi.set_defaults(prepare=_import)
    for parser in (nemo, kaldi):
        parser.add_argument("--out", type=Path, metavar="DIR", required=True)
        parser.add_argument(
            "--strict", action="store_true", help="a bad row is an error, and nothing is written"
        )
        parser.add_argument("--jobs", type=jobs, default=2, help="files read at once (%(default)s)")

    export = corpora.add_parser(
        "export",
        help="convert manifests to those of NeMo or Kaldi",
        description="Writes DIR/<split>.json (nemo) or a folder DIR/<split> (kaldi) for each "
        "MANIFEST. Audio files are not changed.",
    )
    export.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    export.add_argument("--format", choices=("nemo", "kaldi"), required=True)
    export.add_argument("--out", type=Path, metavar="DIR", required=True)
    export.set_defaults(prepare=_export)

    shards = corpora.add_parser(
        "shards",
        help="write a manifest and its audio as a few large files",
        description="Writes lhotse Shar shards: FLAC in tar files, and their cuts. Training reads "
        "them directly: `splits.train=DIR`, or the address of DIR on a web server that supports "
        "HTTP ranges. Bad files are named, counted and left out.",
    )
    shards.add_argument("manifest", type=Path, metavar="MANIFEST")
    shards.add_argument("--out", type=Path, metavar="DIR", required=True)
    shards.add_argument(
        "--shard-size",
        type=count,
        default=1000,
        metavar="N",
        help="utterances per shard (%(default)s)",
    )
    shards.add_argument("--strict", action="store_true", help="a bad file is an error")
    shards.add_argument("--jobs", type=jobs, default=2, help="files read at once (%(default)s)")
    shards.set_defaults(prepare=_shards)

    summary = corpora.add_parser(
        "summary",
        help="check a prepared corpus again",
        description="Prints the contents of a prepared folder, finds audio changed since then, and "
        "writes summary.html again.",
    )
    summary.add_argument("folder", type=Path, metavar="DIR")
    summary.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="a tokenizer.model: also find characters outside its vocabulary",
    )
    summary.set_defaults(prepare=_summary)


def add_transcripts(corpora: Any) -> None:
    """Add `asr prepare transcripts`."""
    parser = corpora.add_parser(
        "transcripts",
        help="pseudo-labels from the output of `asr transcribe --format json`",
        description="Makes pseudo-labels for self-training: recordings of up to 30 s are "
        "utterances, longer ones are cut at pauses. Utterances below the confidence and "
        "unreadable recordings are left out and counted.",
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="FILE|DIR",
        help="JSON lines of `asr transcribe`, or folders with such .json and .jsonl files",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", required=True)
    parser.add_argument(
        "--min-confidence",
        type=fraction,
        default=0.9,
        metavar="X",
        help="least mean confidence of an utterance's words (default: %(default)s)",
    )
    parser.add_argument(
        "--split", default="train", metavar="NAME", help="name of the split (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=jobs, default=2, help="files read at once (%(default)s)")
    parser.set_defaults(prepare=_transcripts)


def _import(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.data.formats.kaldi import read_kaldi
    from asr.data.formats.nemo import read_nemo_manifests
    from asr.data.prepare import prepare_utterances
    from asr.files import check_folder

    check_folder(args.out)
    read = {"nemo": read_nemo_manifests, "kaldi": read_kaldi}[args.corpus]
    summary = prepare_utterances(
        read(args.sources),
        args.out,
        source=", ".join(map(str, args.sources)),
        settings={
            "corpus": args.corpus,
            "source": [str(source.resolve()) for source in args.sources],
        },
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _export(args: argparse.Namespace) -> None:
    from asr.files import check_folder

    check_folder(args.out)
    write_data_format(args.manifests, args.out, format=args.format)


def _shards(args: argparse.Namespace) -> None:
    from asr.data.shards.write import write_shards
    from asr.files import check_folder

    check_folder(args.out)
    write_shards(
        args.manifest,
        args.out,
        shard_size=args.shard_size,
        strict=args.strict,
        num_jobs=args.jobs,
    )


def _summary(args: argparse.Namespace) -> None:
    from asr.cli.prepare import SUMMARY_PAGE, write_page
    from asr.data.check import find_changed
    from asr.data.prepare import report_skipped
    from asr.data.progress import print_progress
    from asr.data.summary import read_summary
    from asr.errors import InputError

    summary = read_summary(args.folder)
    if summary is None:
        raise InputError(f"{args.folder} has no summary.json of this version; prepare it again")
    unknown = None if args.tokenizer is None else _unknown(summary, args.tokenizer)
    changed = [one for split in summary.splits.values() for one in find_changed(split.manifest)]
    print("\n".join(summary.lines()))
    if changed:
        print(f"{len(changed):,} changed or gone since")
        report_skipped("changed", changed, print_progress)
    for split, found in (unknown or {}).items():
        characters = "".join(sorted(set("".join(found.values()))))
        print(f"{split}: {len(found):,} utterances with unknown characters {characters!r}")
    write_page(summary, changed=changed, unknown=unknown)
    print_progress(f"{SUMMARY_PAGE} is in {args.folder}")


def _unknown(summary: Any, path: Path) -> dict[str, dict[str, str]]:
    """Find unknown characters, with normalisation by configs/text and the tokenizer's case."""
    from asr.data.check import find_unknown_characters
    from asr.data.manifest import read_manifest
    from asr.text.normalize import TranscriptNormalizer
    from asr.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)
    is_lower = any(character.islower() for character in tokenizer.characters)
    is_upper = any(character.isupper() for character in tokenizer.characters)
    normalizer = TranscriptNormalizer(
        case="keep" if is_lower and is_upper else "lower" if is_lower else "upper"
    )
    return {
        name: find_unknown_characters(
            read_manifest(split.manifest), tokenizer=tokenizer, normalizer=normalizer
        )
        for name, split in summary.splits.items()
    }


def _transcripts(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.cli.pseudo_labels import read_pseudo_labels
    from asr.data.prepare import prepare_utterances
    from asr.data.progress import print_progress
    from asr.files import check_folder

    check_folder(args.out)
    found = read_pseudo_labels(args.sources, min_confidence=args.min_confidence, split=args.split)
    print_progress(
        f"left out: {found.num_unsure:,} utterances ({found.unsure_s / 3600:.2f} h) below a "
        f"confidence of {args.min_confidence:g}, {found.num_silent:,} recordings without words"
    )
    summary = prepare_utterances(
        found.utterances,
        args.out,
        source=", ".join(map(str, args.sources)),
        settings={
            "corpus": "transcripts",
            "source": [str(source.resolve()) for source in args.sources],
            "min_confidence": args.min_confidence,
        },
        num_jobs=args.jobs,
    )
    write_page(summary)
