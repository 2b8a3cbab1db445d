"""`asr convert`: give a trained full-attention model a reuse schedule, or SVD-softmax."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.cli.compose import compose_reuse
from asr.cli.convert_softmax import run_svd_softmax
from asr.cli.device import add_device_argument, check_device
from asr.cli.options import add_plugin_argument, count
from asr.cli.run_summary import log, schedule_lines
from asr.data.check import check_characters
from asr.data.manifest import read_manifest
from asr.data.splits import evenly_spaced, no_longer_than
from asr.decode.search import build_search
from asr.errors import InputError
from asr.files import check_folder
from asr.measure.calibration import MAX_UTTERANCE_S, CalibrationBatches, Tested
from asr.model.asr_model import AsrModel
from asr.model.build import build
from asr.model.convert import Conversion, LayerChange, convert, module_names
from asr.model.package import (
    ORIGIN,
    WEIGHTS,
    ModelPackage,
    check_whole_outputs,
    load_package,
    package_folder,
    save_package,
)
from asr.reuse.head_order import aligned_orders

UNMATCHED, MATCHED = "converted, heads unchanged", "converted, heads matched"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, schedule or softmax, calibration data, output."""
    parser.add_argument(
        "overrides",
        nargs="*",
        help="the schedule: reuse=probs reuse.group_size=2, or reuse=FILE.yaml written by "
        "`asr analyze`",
    )
    add_plugin_argument(parser)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model trained with reuse=none; with --svd-softmax any model, or a language model",
    )
    parser.add_argument(
        "--svd-softmax",
        nargs="?",
        const="",
        metavar="KEY=VALUE[,...]",
        help="decompose large output layers instead (Shim et al. 2017), with preview_width "
        "(default: an eighth of the width) and refined_words (2048); refused if it is not faster",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the model"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="MANIFEST",
        help="match followers' heads to their leader's by the attention on these utterances, and "
        "write the model with or without matching that is better on them; with --svd-softmax "
        "compare output layers on them (for a language model, on a text)",
    )
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="use N utterances of --data, evenly spread (default: all)",
    )
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, print what changed in each layer, measure on data if given, and write a package."""
    check_device(args.device)
    check_empty(args.out)
    if args.limit and not args.data:
        raise InputError("--limit needs --data, the utterances to pick from")
    if args.svd_softmax is not None:
        return run_svd_softmax(args, origin(args))
    config: dict[str, Any] = {"reuse": compose_reuse(args.overrides)}
    package = load_package(args.model, args.device)
    check_whole_outputs(package.config, package.folder, "asr convert")
    config = {**package.config, **config, ORIGIN: origin(args)}
    conversion = convert(package.model, config)
    lines = [*conversion_summary(package.model, conversion)]
    if args.data:
        calibration = read_calibration(package, args)
        plain, matched = conversion, aligned(package.model, config, calibration)
        models = {
            "full attention": package.model,
            UNMATCHED: plain.model,
            MATCHED: matched.model,
        }
        tested = test_all(models, package, calibration)
        if is_worse(tested):
            config[ORIGIN]["heads_aligned_on"] = None
        else:
            conversion = matched
        lines += [
            f"on {calibration.num_utterances} utterances of {args.data.name}:",
            *tested_lines(tested),
            kept_line(tested),
        ]
    print(*lines, sep="\n")
    save_package(
        args.out,
        model=conversion.model,
        tokenizer=package.tokenizer,
        config=config,
        card=conversion_card(args.command, args.model, lines),
    )
    log(f"model: {args.out}; train it further with init={args.out} and the same reuse")
    return 0


def check_empty(folder: Path) -> None:
    """Raise InputError unless ``folder`` is new or empty, and can be written."""
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--out {folder} is not empty; name a new or an empty folder")


def origin(args: argparse.Namespace) -> dict[str, Any]:
    """Return the origin of the new model, for its config.

    Raises:
        InputError: ``--model`` holds no weights.
    """
    weights = package_folder(args.model) / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{args.model}: not a model folder; it must hold {WEIGHTS}")
    return {
        "model": str(args.model),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "heads_aligned_on": str(args.data) if args.data else None,
        "limit": args.limit,
    }


def read_calibration(package: ModelPackage, args: argparse.Namespace) -> CalibrationBatches:
    """Read the utterances of ``--data``.

    Raises:
        InputError: none can be used, or a transcript has characters that the model cannot write.
    """
    utterances = no_longer_than(read_manifest(args.data), MAX_UTTERANCE_S)
    utterances = evenly_spaced(utterances, args.limit) if args.limit else utterances
    check_characters(utterances, tokenizer=package.tokenizer, normalizer=package.normalizer)
    return CalibrationBatches.read(package, utterances)


def aligned(
    parent: AsrModel, config: Mapping[str, Any], calibration: CalibrationBatches
) -> Conversion:
    """Convert with the heads of followers permuted to match those of their leader."""
    orders = aligned_orders(
        build(config["reuse"], "reuse"),
        calibration.head_similarity(parent, report=log),
        parent.encoder.num_heads,
    )
    for layer, order in orders.items():
        log(f"layer {layer}: heads reordered to {', '.join(map(str, order))}")
    return convert(parent, config, orders=orders)


def test_all(
    models: Mapping[str, AsrModel], package: ModelPackage, calibration: CalibrationBatches
) -> dict[str, Tested]:
    """Measure loss and WER of each model."""
    config = package.config["decode"]
    return {
        name: calibration.test(model, package.tokenizer, build_search(config, model, package))
        for name, model in models.items()
    }


def is_worse(tested: Mapping[str, Tested]) -> bool:
    """Return whether matching heads raised the WER, or the loss at equal WER."""
    matched, unmatched = tested[MATCHED], tested[UNMATCHED]
    return (matched.wer, matched.loss) > (unmatched.wer, unmatched.loss)


def kept_line(tested: Mapping[str, Tested]) -> str:
    """Describe which of the two conversions is written, and why."""
    matched, unmatched = tested[MATCHED], tested[UNMATCHED]
    if matched == unmatched:
        return "matching heads changed nothing"
    numbers = (
        f"WER {matched.wer:.2f} % against {unmatched.wer:.2f} %, "
        f"loss {matched.loss:.3f} against {unmatched.loss:.3f}"
    )
    if is_worse(tested):
        return f"matching heads made it worse ({numbers}): the model written has them unchanged"
    return f"the model written has matched heads ({numbers})"


def conversion_summary(parent: AsrModel, conversion: Conversion) -> list[str]:
    """Describe the schedule, the changes of each layer, and parameters before and after."""
    before, after = (
        sum(parameter.numel() for parameter in model.parameters())
        for model in (parent, conversion.model)
    )
    return [
        *schedule_lines(conversion.model.encoder),
        *(line for change in conversion.changes if (line := change_line(change))),
        f"parameters: {before:,} before, {after:,} after",
    ]


def change_line(change: LayerChange) -> str:
    """Describe what a layer keeps and loses; empty if its attention is unchanged."""
    parts = {
        "keeps": change.kept,
        "keeps a part of": change.narrowed,
        "takes over": change.taken,
        "starts untrained": change.fresh,
        "drops": change.dropped,
    }
    said = [f"{verb} {', '.join(module_names(names))}" for verb, names in parts.items() if names]
    unchanged = len(said) == 1 and change.kept
    return "" if unchanged else f"layer {change.layer}: {'; '.join(said)}"


def tested_lines(tested: Mapping[str, Tested]) -> list[str]:
    """Describe loss and WER of each model, a line each."""
    width = max(map(len, tested))
    return [
        f"  {name:<{width}}  CTC loss {one.loss:8.3f} per utterance, WER {one.wer:6.2f} %"
        for name, one in tested.items()
    ]


def conversion_card(command: str, model: Path, lines: Sequence[str]) -> str:
    """Write the README of the new package."""
    return "\n".join(
        [
            f"# Converted from {model}",
            "",
            f"`{command}`: a model trained without reuse, converted to this schedule.",
            "Its weights are those of the original model. It has not been trained since; until it",
            "is, its error rate is higher than the original's.",
            "",
            *(f"    {line}" for line in lines),
            "",
        ]
    )
