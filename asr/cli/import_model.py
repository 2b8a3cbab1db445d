"""`asr import`: convert a model of NeMo or transformers to a model package."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from asr.cli.convert import check_empty
from asr.cli.run_summary import log
from asr.errors import InputError
from asr.interop.huggingface import is_folder, read_huggingface
from asr.interop.nemo import ARCHIVE_SUFFIX, read_nemo
from asr.interop.parakeet import Pretrained
from asr.model.asr_model import AsrModel
from asr.model.package import IMPORTED, save_package

_LIBRARIES = {"nemo": "NeMo", "huggingface": "transformers"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: source and output."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a .nemo archive (Conformer or FastConformer with CTC over subwords, or a hybrid), or "
        "a folder of transformers' ParakeetForCTC",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the model"
    )


def run(args: argparse.Namespace) -> int:
    """Read the model, rewrite its weights, and write a package."""
    check_empty(args.out)
    source, model = read(args.source)
    origin = {
        "source": args.source.name,
        "library": _LIBRARIES[source.library],
        "weights_sha256": source_digest(args.source),
    }
    save_package(
        args.out,
        model=model,
        tokenizer=source.tokenizer,
        config={**source.config, IMPORTED: origin},
        card=import_card(args.command, origin, source, model),
    )
    print("\n".join(import_summary(source, model)))
    log(f"model: {args.out}; try it: asr transcribe AUDIO --model {args.out}")
    log(f"find a reuse schedule: asr analyze --model {args.out} --data MANIFEST")
    return 0


def read(path: Path) -> tuple[Pretrained, AsrModel]:
    """Read the model at ``path``.

    Raises:
        InputError: there is nothing that can be imported.
    """
    if path.is_dir():
        if not is_folder(path):
            raise InputError(
                f"{path}: no config.json of transformers in it; a folder of ParakeetForCTC or a "
                f"{ARCHIVE_SUFFIX} file is allowed"
            )
        return read_huggingface(path)
    if path.suffix != ARCHIVE_SUFFIX:
        raise InputError(
            f"{path}: a {ARCHIVE_SUFFIX} file or a folder of ParakeetForCTC is allowed"
        )
    return read_nemo(path)


def source_digest(path: Path) -> str:
    """Return the SHA-256 of the archive, or of the concatenated weight files of a folder."""
    paths = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for one in paths:
        with one.open("rb") as file:
            while data := file.read(1 << 20):
                found.update(data)
    return found.hexdigest()


def import_summary(source: Pretrained, model: AsrModel) -> list[str]:
    """Describe the imported model in a few lines."""
    encoder, rules = source.config["encoder"], source.config["text"]["normalize"]
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    factor, shift_ms = model.subsampling_factor, 1000 * model.frame_shift_s
    return [
        f"Conformer: {encoder['num_layers']} layers of width {encoder['d_model']}, "
        f"{num_parameters:,} parameters, subsampling by {factor} ({shift_ms:g} ms per frame)",
        f"tokenizer: {source.tokenizer.vocab_size - 1} pieces and a blank; transcripts for "
        f"training: case {rules['case']}, punctuation {rules['punctuation']}",
        f"dropout {encoder['dropout']:g} in training, at every place that the original has one",
    ]


def import_card(command: str, origin: dict[str, Any], source: Pretrained, model: AsrModel) -> str:
    """Write the README of the new package."""
    return "\n".join(
        [
            f"# Imported from {origin['source']}",
            "",
            f"`{command}`: a model of {origin['library']}; its outputs equal the original's up to",
            f"rounding. SHA-256 of the original: `{origin['weights_sha256']}`. The licence of the",
            "original also applies to this model.",
            "",
            *(f"    {line}" for line in import_summary(source, model)),
            "",
        ]
    )
