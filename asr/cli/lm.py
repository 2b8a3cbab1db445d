"""`asr lm train`: estimate an n-gram language model from text, for `--lm`."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from asr.cli.options import number_in
from asr.cli.run_summary import log
from asr.errors import InputError
from asr.files import check_folder, read_packed_lines
from asr.lm.kneser_ney import Estimate, estimate
from asr.lm.ngram import perplexity, read_arpa
from asr.ranges import Range

Spell = Callable[[str], Sequence[str]]
"""Splits a sentence into the words of a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: action, text, order, output."""
    parser.add_argument("action", choices=["train"], help="estimate a model from text")
    parser.add_argument(
        "texts",
        nargs="+",
        type=Path,
        metavar="TEXT",
        help="a sentence per line, compressed by gzip or not; or the transcripts of a manifest "
        "(*.jsonl.gz)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.arpa[.gz]",
        help="ARPA file to write",
    )
    parser.add_argument(
        "--order",
        type=functools.partial(_whole, low=1, high=9),
        default=3,
        metavar="N",
        help="words in the longest n-grams (default: %(default)s)",
    )
    parser.add_argument(
        "--prune",
        type=limits,
        default=(),
        metavar="N[,N...]",
        help="leave out n-grams that occur at most N times, for each order from the first; the "
        "last number applies to all longer ones; single words are always kept: 0,0,1 leaves out "
        "trigrams that occur once (default: keep all)",
    )
    parser.add_argument(
        "--min-count",
        type=functools.partial(_whole, low=1, high=1_000_000),
        default=1,
        metavar="N",
        help="rarer words count as <unk> (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="normalise the text as this recogniser normalises transcripts",
    )
    parser.add_argument(
        "--pieces",
        action="store_true",
        help="with --model: estimate a model of its tokenizer's pieces instead of words; needed "
        "for scripts without spaces",
    )
    parser.add_argument(
        "--dev",
        type=Path,
        metavar="TEXT",
        help="also print the perplexity of this text",
    )


def _whole(text: str, *, low: int, high: int) -> int:
    try:
        number: int = number_in(text, Annotated[int, Range(low, high)])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return number


def limits(text: str) -> tuple[int, ...]:
    """Parse integers, separated by commas, that do not decrease."""
    found = tuple(_whole(part, low=0, high=1_000_000) for part in text.split(","))
    if list(found) != sorted(found):
        raise argparse.ArgumentTypeError(
            f"{text}: allowed: numbers that do not decrease with the order"
        )
    return found


def run(args: argparse.Namespace) -> int:
    """Estimate the model, write it, and print its size and perplexity."""
    if args.pieces and args.model is None:
        raise InputError("--pieces needs a recogniser; give --model too")
    if not args.out.name.removesuffix(".gz").endswith(".arpa"):
        raise InputError(f"--out {args.out}: its name must end with .arpa or .arpa.gz")
    check_folder(args.out.parent)
    spell = _spelling(args)
    found = estimate(
        (words for path in args.texts for words in sentences(path, spell)),
        order=args.order,
        prune=args.prune,
        min_count=args.min_count,
    )
    found.write(args.out)
    print(estimate_line(found, args.out))
    if args.dev is not None:
        told = perplexity(read_arpa(args.out), list(sentences(args.dev, spell)))
        print(f"perplexity of {args.dev}: {told}")
    return 0


def estimate_line(found: Estimate, path: Path) -> str:
    """Describe the model in one line."""
    grams = ", ".join(
        f"{len(order.words):,} {number}-grams" for number, order in enumerate(found.orders, start=1)
    )
    return f"{found.num_sentences:,} sentences, {found.num_words:,} words: {grams} -> {path}"


def sentences(path: Path, spell: Spell) -> Iterator[Sequence[str]]:
    """Yield the sentences of a text or a manifest, without empty ones."""
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        from asr.data.manifest import read_manifest

        lines: Iterator[str] = (utterance.text for utterance in read_manifest(path))
    else:
        lines = (line for _, line in read_packed_lines(path))
    for line in lines:
        if words := spell(line):
            yield words


def _spelling(args: argparse.Namespace) -> Spell:
    if args.model is None:
        return str.split
    from asr.decode.recogniser import load_recogniser
    from asr.interop.hub import local_model

    recogniser = load_recogniser(local_model(args.model), "cpu")
    tokenizer, normalizer = recogniser.tokenizer, recogniser.normalizer
    if args.pieces:
        return lambda line: tokenizer.pieces(tokenizer.encode(normalizer(line)))
    log(f"text normalised as transcripts of {args.model}")
    return lambda line: normalizer(line).split()
