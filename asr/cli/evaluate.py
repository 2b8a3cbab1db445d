"""`asr evaluate`: word error rate beside encoder latency."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from asr.cli.device import (
    add_device_argument,
    add_dtype_argument,
    add_graphs_argument,
    check_device,
    check_graphs_argument,
    use_graphs,
)
from asr.cli.evaluation_record import (
    Found,
    Way,
    confidence_lines,
    dtype_line,
    evaluation_records,
    wer_line,
)
from asr.cli.exits import (
    ALL_LAYERS,
    Exit,
    add_exit_lists,
    check_exits,
    exit_notice,
    exits_of,
    load_at,
)
from asr.cli.live import check_stream, stream_context
from asr.cli.options import add_plugin_argument, audio_length, chunk_ms, rounds
from asr.cli.output import add_table_arguments, check_outputs, exit_code, print_table
from asr.cli.recordings import OF_FILES, add_chunk_arguments
from asr.cli.search import MODELS, add_search_arguments, option, search_config, search_of
from asr.data.check import check_characters, describe_dropped
from asr.data.labels import read_labels
from asr.data.manifest import Utterances, read_manifest
from asr.data.progress import print_progress
from asr.decode.beam import BeamDecoder
from asr.decode.search import Search, notice_of, search_name, temperature_of
from asr.encoder.precision import resolved_dtype
from asr.errors import InputError
from asr.measure.evaluation import SplitEvaluation, evaluate
from asr.measure.tuning import tune
from asr.metrics.alternatives import Equivalents
from asr.metrics.confidence import fit_temperature
from asr.model.package import CONFIDENCE, CONFIG, ModelPackage, write_temperature
from asr.profiling.cost import count_parameters
from asr.report.hypotheses import write_hypotheses
from asr.text.scoring import SCORINGS, scoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, manifests, measurements."""
    add_plugin_argument(parser)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder, or the run folder that holds it",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        nargs="+",
        metavar="MANIFEST",
        help="manifests of `asr prepare`: <split>.jsonl.gz",
    )
    parser.add_argument(
        "--lengths",
        type=audio_length,
        nargs="*",
        default=[5, 15, 30, 60],
        metavar="S",
        help="seconds of audio to time the encoder with; none: no latency",
    )
    parser.add_argument("--repeats", type=rounds, default=10, help="rounds of timing (%(default)s)")
    add_device_argument(parser)
    add_dtype_argument(parser, default="float32")
    add_graphs_argument(parser)
    add_exit_lists(parser)
    parser.add_argument(
        "--allow-unknown",
        action="store_true",
        help="also score transcripts with characters the model cannot write; they count as errors",
    )
    add_chunk_arguments(parser)
    parser.add_argument(
        "--stream",
        type=chunk_or_whole,
        nargs="+",
        default=[None],
        metavar="MS",
        help="decode the recordings as live streams in chunks of these lengths, or whole, a row "
        "each; for models trained in chunks",
    )
    add_search_arguments(parser)
    parser.add_argument(
        "--tune",
        action="store_true",
        help="with --rescore-lm or --lm: first find the weight and the word bonus with the fewest "
        "errors on the first manifest of --data, then score all manifests with them",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="find the temperature of word confidences on the first manifest of --data and store "
        "it in the model folder for this search; the other manifests measure its effect",
    )
    parser.add_argument(
        "--scoring",
        choices=SCORINGS,
        default=SCORINGS[0],
        help="normalisation of references and hypotheses before scoring: by default the model's, "
        "none: as given, basic: lower case without punctuation, whisper: Whisper's rules for "
        "English (pip install 'encore-asr[scoring]')",
    )
    parser.add_argument(
        "--equivalents",
        type=Path,
        metavar="FILE.glm",
        help="phrases that count as equal, as in NIST's global mapping files: A => B, or "
        "A => {A / B / @}, where @ is nothing",
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="also print error rates by labels of the manifest, such as speaker, or columns kept "
        "by `asr prepare folder --labels`",
    )
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score every manifest, time the encoder, print one table; alignments go to ``--out``."""
    check_device(args.device)
    check_graphs_argument(args)
    check_outputs(args)
    if None not in args.stream:
        check_stream(args, without_effect=OF_FILES)
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    args.dtype = resolved_dtype(args.dtype, args.device)
    if args.cuda_graphs and args.exit_entropy:
        raise InputError("--cuda-graphs records all layers; it excludes --exit-entropy")
    package = load_at(args, ALL_LAYERS, args.dtype)
    check_exits(args, package.model)
    decode = search_config(args, package.config)
    decoder = search_of(args, decode, package)
    manifests = {split: read_manifest(path) for split, path in by_split(args.data).items()}
    for split, utterances in manifests.items():
        texts, events = (utterance.text for utterance in utterances), package.normalizer.events_fate
        for line in describe_dropped(texts, split, events=events):
            print_progress(line)
        unknown = check_characters(
            utterances,
            tokenizer=package.tokenizer,
            normalizer=package.normalizer,
            allow_unknown=args.allow_unknown,
        )
        if unknown:
            print(f"{split}: {unknown}", file=sys.stderr)
    spelling = None if args.scoring == SCORINGS[0] else scoring(args.scoring, package.normalizer)
    normalize = package.normalizer if spelling is None else spelling.reference
    equivalents = args.equivalents and Equivalents.read(args.equivalents, normalize)
    labels = {split: read_labels(path, args.by) for split, path in by_split(args.data).items()}
    if args.tune:
        decode = tuned(args, package, next(iter(manifests.values())), decoder, decode)
        decoder = search_of(args, decode, package)

    def found_by(package: ModelPackage, decoder: Search, exit: Exit) -> Found:
        contexts = {length: stream_context(length, package.model) for length in args.stream}
        as_found = {key: value for key, value in package.config.items() if key != CONFIDENCE}
        package = replace(package, config=as_found)  # confidences at a temperature of 1
        return {
            Way(length, exit): {
                split: evaluate(
                    package,
                    utterances,
                    decoder,
                    chunk_s=args.chunk,
                    overlap_s=args.overlap,
                    vad=args.vad,
                    silence_db=args.silence,
                    stream=context,
                    scoring=spelling,
                    equivalents=equivalents,
                )
                for split, utterances in manifests.items()
            }
            for length, context in contexts.items()
        }

    found, exact, originals = Found(), Found(), {}
    for exit in exits_of(args):
        if exit != ALL_LAYERS:
            package = load_at(args, exit, args.dtype)
            decoder = search_of(args, decode, package)
        graphs = use_graphs(package.model) if args.cuda_graphs else None
        found |= found_by(package, decoder, exit)
        for notice in (graphs, notice_of(decoder), exit_notice(package.model)):
            if notice:
                print(notice, file=sys.stderr)
        if args.dtype != "float32":
            package = load_at(args, exit, "float32")
            exact |= found_by(package, search_of(args, decode, package), exit)
        originals[exit] = package.config, count_parameters(package.model)
    temperature = temperature_of(package.config, decoder)
    if args.calibrate:
        temperature = calibrated(package, decoder, *next(iter(next(iter(found.values())).items())))
    records = evaluation_records(args, originals, found, exact, decode, labels)
    named = {way.name_of(split): one for way in found for split, one in found[way].items()}
    print_table(records, args, examples={name: one.scored for name, one in named.items()})
    for name, evaluation in named.items():
        for line in (
            wer_line(name, evaluation),
            *confidence_lines(name, evaluation, temperature),
        ):
            print(line, file=sys.stderr)
        if args.out:
            write_hypotheses(
                evaluation.tempered(temperature).scored,
                args.out / f"{name.replace(' ', '-')}.jsonl",
            )
    for way, record in zip(found, records, strict=True):
        for split, change in record.wer_vs_float32.items():
            print(dtype_line(way.name_of(split), change, args.dtype), file=sys.stderr)
    return exit_code(records)


def chunk_or_whole(text: str) -> float | None:
    """Parse the length of a chunk in milliseconds; None for whole recordings."""
    return None if text == "whole" else chunk_ms(text)


def tuned(
    args: argparse.Namespace,
    package: ModelPackage,
    utterances: Utterances,
    decoder: object,
    decode: dict[str, Any],
) -> dict[str, Any]:
    """Find and print the weights with the fewest errors on ``utterances``; return their search.

    Raises:
        InputError: there is no language model to tune, or its weights are given.
    """
    if not isinstance(decoder, BeamDecoder) or decoder.rescore_lm is decoder.lm is None:
        raise InputError("--tune needs a language model: give --beam, and --lm or --rescore-lm")
    model = "lm" if decoder.rescore_lm is None else "rescore_lm"
    weight, bonus = MODELS[model]
    if getattr(args, weight) is not None or getattr(args, bonus) is not None:
        raise InputError(f"--tune finds {option(weight)} and {option(bonus)}; leave them out")
    found = tune(package, utterances, decoder)
    for one in found:
        print(
            f"{option(weight)} {one.weight:g} {option(bonus)} {one.bonus:g}: {one.wer:.2f} %",
            file=sys.stderr,
        )
    best = min(found, key=lambda one: one.wer)
    print(
        f"fewest errors on {split_name(args.data[0])}: {option(weight)} {best.weight:g} "
        f"{option(bonus)} {best.bonus:g}",
        file=sys.stderr,
    )
    return {**decode, weight: best.weight, bonus: best.bonus}


def calibrated(package: ModelPackage, decoder: Search, split: str, found: SplitEvaluation) -> float:
    """Fit the confidence temperature to ``found``, store it in the package and return it.

    Raises:
        InputError: the search has no confidences; see `fit_temperature` and `write_temperature`.
    """
    confidences, is_right = found.judged_words()
    if not confidences:
        raise InputError(f"--calibrate: no words with confidences were found in {split}")
    try:
        temperature = fit_temperature(confidences, is_right)
    except InputError as error:
        raise InputError(f"--calibrate on {split}: {error}") from error
    write_temperature(package.folder, search_name(decoder), temperature)
    print(
        f"confidences calibrated on {split}, {len(confidences):,} words: temperature "
        f"{temperature:.3g}, kept in {package.folder / CONFIG}",
        file=sys.stderr,
    )
    return temperature


def by_split(paths: Sequence[Path]) -> dict[str, Path]:
    """Return manifests by the name of their split.

    Raises:
        InputError: two manifests have the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        split = split_name(path)
        if split in found:
            raise InputError(
                f"--data: {found[split]} and {path} are both called {split}; "
                "evaluate them one after the other, or rename one"
            )
        found[split] = path
    return found


def split_name(path: Path) -> str:
    """Return the split of a manifest: ``data/digits/test.jsonl.gz`` is ``test``."""
    return path.name.partition(".")[0]
