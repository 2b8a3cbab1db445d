"""Options of commands that decode: the beam, and what it hands on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from asr.cli.options import beam_size, fraction, token_count
from asr.decode.beam import BeamDecoder
from asr.errors import InputError

_BEAM_SEARCH = f"{BeamDecoder.__module__}.{BeamDecoder.__qualname__}"


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the beam; without them the model's own search is used."""
    parser.add_argument(
        "--beam",
        type=beam_size,
        metavar="N",
        help="search a beam of N prefixes, summed over their paths; 1 is not the same as greedy "
        "(default: as the model's config says, mostly greedy)",
    )
    parser.add_argument(
        "--tokens-per-frame",
        type=token_count,
        metavar="N",
        help="with a beam: tokens of a frame that may extend a prefix (default: 20)",
    )
    parser.add_argument(
        "--skip-blank",
        type=fraction,
        metavar="P",
        help="with a beam: do not search frames whose blank has this probability or more, as that "
        "of the frame before; how many they were is said at the end (default: none)",
    )


def search_config(
    args: argparse.Namespace, config: Mapping[str, Any], *, n_best: int = 1
) -> dict[str, Any]:
    """The search of a model's ``config`` as the options change it.

    Raises:
        InputError: an option of the beam without a beam; more ``n_best`` than the beam holds.
    """
    decode = dict(config["decode"])
    if args.beam is not None:
        if decode["_target_"] != _BEAM_SEARCH:
            decode = {"_target_": _BEAM_SEARCH}
        decode["beam"] = args.beam
    given = {
        "tokens_per_frame": args.tokens_per_frame,
        "skip_blank": args.skip_blank,
        "n_best": n_best if n_best > 1 else None,
    }
    for name, value in given.items():
        if value is None:
            continue
        if decode["_target_"] != _BEAM_SEARCH:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is of a beam; give --beam too, such as --beam 10")
        decode[name] = value
    if n_best > decode.get("beam", n_best):
        raise InputError(f"--n-best {n_best}: a beam of {decode['beam']} holds fewer; widen --beam")
    return decode
