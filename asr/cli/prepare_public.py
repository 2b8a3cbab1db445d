"""`asr prepare librispeech`, `mini_librispeech`, `an4`, `musan`, `rirs`, `lhotse`: public data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.cli.options import jobs
from asr.cli.parser import did_you_mean
from asr.data.corpora.parts import (
    AN4,
    AN4_MIRROR,
    AN4_OTHER_MIRRORS,
    CORPORA,
    MIRROR,
    OTHER_MIRRORS,
    SOUNDS,
    Corpus,
    Sounds,
)

_USES = {
    "musan": ("noise, music and speech to add to speech", "data.noise.folder"),
    "rirs": ("impulse responses of rooms, and noises", "data.reverb.folder"),
}

Corpora = Any  # argparse does not name the type of its sub-parsers


def add_public(corpora: Corpora) -> None:
    """Add a sub-command for each corpus with archives, and one for those of lhotse."""
    for corpus in CORPORA.values():
        _add_archives(corpora, corpus)
    _add_an4(corpora)
    for sounds in SOUNDS.values():
        _add_sounds(corpora, sounds)
    lhotse = corpora.add_parser(
        "lhotse",
        help="any corpus on your disk that lhotse has a recipe for",
        description="Runs one of lhotse's recipes on SOURCE… (the recipe's own first arguments) "
        "and makes manifests of its result. For an unknown CORPUS all names are listed.",
    )
    lhotse.add_argument("name", metavar="CORPUS", help="such as tedlium, commonvoice, aishell")
    lhotse.add_argument("sources", nargs="*", metavar="SOURCE")
    lhotse.add_argument(
        "--set",
        action="append",
        default=[],
        dest="options",
        metavar="NAME=VALUE",
        help="an option of the recipe; VALUE is JSON, or otherwise text",
    )
    _add_common(lhotse, "data/<CORPUS>")
    lhotse.set_defaults(prepare=_lhotse)


def _add_archives(corpora: Corpora, corpus: Corpus) -> None:
    parser = corpora.add_parser(
        corpus.name,
        help=f"openslr.org/{corpus.resource}: download, check, unpack",
        description=f"Downloads parts of openslr.org/{corpus.resource}, resumes interrupted "
        "downloads, checks MD5 sums, unpacks the archives and makes a manifest of each. Complete "
        f"parts are not touched. Parts: {', '.join(corpus.parts)}.",
    )
    parser.add_argument(
        "--part",
        action="append",
        dest="parts",
        metavar="PART",
        help=f"this part, or all; may be repeated (default: {', '.join(corpus.usual_parts)})",
    )
    _add_mirror(parser, f"{corpus.resource}/PART.tar.gz", MIRROR, OTHER_MIRRORS)
    _add_common(parser, f"data/{corpus.name}")
    parser.set_defaults(prepare=_archives)


def _add_sounds(corpora: Corpora, sounds: Sounds) -> None:
    (archive,) = sounds.corpus.parts.values()
    resource = sounds.corpus.resource
    use, key = _USES[sounds.name]
    parser = corpora.add_parser(
        sounds.name,
        help=f"openslr.org/{resource}: {use}",
        description=f"Downloads openslr.org/{resource} in the same way as LibriSpeech, and makes "
        f"manifests of {', '.join(sounds.patterns)}. Training uses them where {key} names DIR.",
    )
    _add_mirror(parser, f"{resource}/{archive.file_name}", MIRROR, OTHER_MIRRORS)
    _add_common(parser, f"data/{sounds.name}")
    parser.set_defaults(prepare=_sounds)


def _add_an4(corpora: Corpora) -> None:
    (archive,) = AN4.parts.values()
    parser = corpora.add_parser(
        AN4.name,
        help="AN4, 948 + 130 utterances of spelling and counting: download, check, unpack",
        description="Downloads the SPHERE archive of AN4 in the same way as LibriSpeech, and makes "
        "manifests of its official train and test splits, and of dev: speakers held out of train.",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FOLDER",
        help="use a copy on disk instead: the unpacked archive, or LibriSpeech layout",
    )
    _add_mirror(parser, archive.file_name, AN4_MIRROR, AN4_OTHER_MIRRORS)
    _add_common(parser, f"data/{AN4.name}")
    parser.set_defaults(prepare=_an4)


def _add_mirror(
    parser: argparse.ArgumentParser, archive: str, mirror: str, others: Sequence[str]
) -> None:
    parser.add_argument(
        "--mirror",
        default=mirror,
        metavar="URL",
        help=f"address before /{archive} (%(default)s; others: {', '.join(others)})",
    )
    parser.add_argument(
        "--checksums",
        type=Path,
        metavar="FILE",
        help="check by this list of MD5 or SHA-256 sums, for a mirror with different archives",
    )
    parser.add_argument(
        "--keep-archives",
        action="store_true",
        help="keep the archives in DIR/archives after unpacking",
    )


def _add_common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {out}")
    parser.add_argument(
        "--strict", action="store_true", help="a bad row is an error, instead of being left out"
    )
    parser.add_argument("--jobs", type=jobs, default=2, help="files read at once (%(default)s)")


def _archives(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.data.corpora.librispeech import prepare_librispeech
    from asr.errors import InputError
    from asr.files import check_folder

    corpus = CORPORA[args.corpus]
    for part in args.parts or ():
        if part not in (*corpus.parts, "all"):
            hint = did_you_mean(part, corpus.parts)
            raise InputError(
                f"{corpus.name} has no part {part}{hint}; it has {', '.join(corpus.parts)}, or all"
            )
    out = args.out or Path("data") / corpus.name
    check_folder(out)
    summary = prepare_librispeech(
        corpus,
        out,
        parts=tuple(corpus.parts) if "all" in (args.parts or ()) else args.parts,
        mirror=args.mirror,
        checksums=args.checksums,
        keep_archives=args.keep_archives,
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _an4(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.data.corpora.an4 import prepare_an4
    from asr.files import check_folder

    out = args.out or Path("data") / AN4.name
    check_folder(out)
    summary = prepare_an4(
        out,
        source=args.source,
        mirror=args.mirror,
        checksums=args.checksums,
        keep_archives=args.keep_archives,
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _sounds(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.data.corpora.sounds import prepare_sounds
    from asr.files import check_folder

    out = args.out or Path("data") / args.corpus
    check_folder(out)
    summary = prepare_sounds(
        SOUNDS[args.corpus],
        out,
        mirror=args.mirror,
        checksums=args.checksums,
        keep_archives=args.keep_archives,
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _lhotse(args: argparse.Namespace) -> None:
    from asr.cli.prepare import write_page
    from asr.data.corpora.recipes import recipe_names, recipe_utterances
    from asr.data.prepare import prepare_utterances
    from asr.errors import InputError
    from asr.files import check_folder

    names = recipe_names()
    if args.name not in names:
        hint = did_you_mean(args.name, names)
        raise InputError(f"lhotse has no recipe for {args.name}{hint}; it has {', '.join(names)}")
    options = dict(map(_option, args.options))
    out = args.out or Path("data") / args.name
    check_folder(out)
    rows = recipe_utterances(
        args.name, args.sources, options=options, folder=out / "lhotse", num_jobs=args.jobs
    )
    summary = prepare_utterances(
        rows,
        out,
        source=f"lhotse {args.name}",
        settings={
            "corpus": args.name,
            "recipe": "lhotse",
            "source": [str(Path(source).resolve()) for source in args.sources],
            "options": options,
        },
        strict=args.strict,
        num_jobs=args.jobs,
    )
    write_page(summary)


def _option(text: str) -> tuple[str, Any]:
    from asr.errors import InputError

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError(f"--set {text}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
