"""Search options of commands that decode: beam, language models and hotwords."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from asr.cli.options import beam_size, bonus, fraction, token_count, weight
from asr.decode.flashlight import FlashlightDecoder
from asr.decode.fusion import FusedSearch
from asr.decode.recogniser import Recogniser
from asr.decode.search import (
    HOTWORD_WEIGHT,
    Search,
    build_search,
    target_name,
    with_beam,
    with_hotwords,
)
from asr.errors import InputError
from asr.lm.hotwords import Hotword, read_hotwords
from asr.model.build import TARGET, target_class
from asr.ranges import shown

MODELS = {
    "lm": ("lm_weight", "lm_word_bonus"),
    "lodr": ("lodr_weight",),
    "rescore_lm": ("rescore_weight", "rescore_word_bonus"),
}
"""Keys of `FusedSearch` for language models, with the keys of their weights."""


def option(key: str) -> str:
    """Return the option that sets ``key``."""
    return f"--{key.replace('_', '-')}"


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the search options; without them the model's own search is used."""
    parser.add_argument(
        "--search",
        metavar="NAME[,KEY=VALUE...]",
        help="use the search of configs/decode/NAME.yaml, with changed keys, such as "
        "hybrid,beam=5,el_attention=true (default: the search in the model's config)",
    )
    parser.add_argument(
        "--beam",
        type=beam_size,
        metavar="N",
        help="beam search with N prefixes, summed over their paths; 1 is not the same as greedy "
        "(default: the search in the model's config, usually greedy; with an option below that "
        "needs a beam: 10, or 4 for a transducer)",
    )
    parser.add_argument(
        "--tokens-per-frame",
        type=token_count,
        metavar="N",
        help="most tokens of a frame that may extend a prefix (default: 20)",
    )
    parser.add_argument(
        "--skip-blank",
        type=fraction,
        metavar="P",
        help="skip frames whose blank, and that of the frame before, has at least this "
        "probability; their number is printed at the end (default: none)",
    )
    parser.add_argument(
        "--hotwords",
        metavar="FILE|WORDS",
        help="phrases to expect, from a file with one per line (optionally followed by a tab and "
        "a boost factor), or separated by commas",
    )
    parser.add_argument(
        "--hotword-weight",
        type=weight,
        metavar="W",
        help="score added per character of a hotword, a natural logarithm "
        f"(default: {HOTWORD_WEIGHT:g})",
    )
    parser.add_argument(
        "--lm",
        type=Path,
        metavar="FILE.arpa[.gz]|DIR",
        help="a language model: n-grams of words or of the model's own pieces, or the folder of a "
        "Transformer (recipes/lm.yaml)",
    )
    parser.add_argument(
        "--lm-weight",
        type=weight,
        metavar="W",
        help="factor on the logarithms of --lm (default: 0.5)",
    )
    parser.add_argument(
        "--lm-word-bonus",
        type=bonus,
        metavar="W",
        help="with --lm: score added per word, a natural logarithm (default: 0.5)",
    )
    parser.add_argument(
        "--lodr",
        type=Path,
        metavar="FILE.arpa[.gz]",
        help="with --lm: low-order n-grams of the model's training transcripts, which are "
        "subtracted (low-order density ratio)",
    )
    parser.add_argument(
        "--lodr-weight",
        type=weight,
        metavar="W",
        help="factor on the logarithms of --lodr (default: 0.2)",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="output only words of this file, one per line (optionally followed by a tab and its "
        "pieces, if the tokenizer spells it differently); by flashlight-text, with --lm FILE.arpa "
        "(needs `pip install 'encore-asr[flashlight]'`)",
    )
    parser.add_argument(
        "--rescore-lm",
        type=Path,
        metavar="FILE.arpa[.gz]|DIR",
        help="a language model that reorders the texts of the final beam",
    )
    parser.add_argument(
        "--rescore-weight",
        type=weight,
        metavar="W",
        help="factor on the logarithms of --rescore-lm (default: 0.5)",
    )
    parser.add_argument(
        "--rescore-word-bonus",
        type=bonus,
        metavar="W",
        help="with --rescore-lm: score added per word (default: 0.5)",
    )


def search_of(
    args: argparse.Namespace, decode: Mapping[str, Any], recogniser: Recogniser
) -> Search:
    """Build the search ``decode`` of a recogniser, with the ``--hotwords``.

    Raises:
        InputError: the search takes no hotwords; see `read_hotwords`, `hotword_automaton` and
            `build_search`; or a weight is given without hotwords.
    """
    decoder = build_search(decode, recogniser.model, recogniser)
    if args.hotwords is None:
        if args.hotword_weight is not None:
            raise InputError("--hotword-weight needs --hotwords")
        return decoder
    if not isinstance(decoder, FusedSearch):
        raise InputError(
            f"--hotwords: the search {_name_of(decode)} takes none; give --beam 10, or another "
            "--search"
        )
    path = Path(args.hotwords)
    try:
        is_file = path.suffix == ".txt" or path.is_file()
    except OSError:  # too long for a file name
        is_file = False
    phrases = args.hotwords.split(",")
    hotwords = read_hotwords(path) if is_file else [Hotword(one) for one in phrases if one.strip()]
    if not hotwords:
        raise InputError(f"--hotwords {args.hotwords!r}: no words")
    weight = HOTWORD_WEIGHT if args.hotword_weight is None else args.hotword_weight
    return cast(Search, with_hotwords(decoder, hotwords, recogniser, weight))


def search_config(
    args: argparse.Namespace, config: Mapping[str, Any], *, n_best: int = 1
) -> dict[str, Any]:
    """Return the search config of a model with the changes of the options.

    An option of beam search selects a beam search, of the default size without ``--beam``.

    Raises:
        InputError: the head has no beam search, an option of a language model is given without
            one, ``n_best`` is above the beam, or ``--search`` names no file or has a change that
            is not a key and a value.
    """
    decode = dict(config["decode"]) if args.search is None else _named_search(args.search)
    if args.search is not None and args.beam is not None:
        raise InputError("with --search give beam=N after its name, not --beam")
    given = {
        "beam": args.beam,
        "tokens_per_frame": args.tokens_per_frame,
        "skip_blank": args.skip_blank,
        "lexicon": args.lexicon and str(args.lexicon),
        "n_best": n_best if n_best > 1 else None,
        **{model: path and str(path) for model in MODELS for path in [getattr(args, model)]},
        **{name: getattr(args, name) for names in MODELS.values() for name in names},
    }
    wanted = [name for name, value in given.items() if value is not None]
    missing = [name for name in wanted if not _takes(decode, name)]
    if args.search is None and "lexicon" in missing:
        decode = {TARGET: target_name(FlashlightDecoder)}
        missing = [name for name in wanted if not _takes(decode, name)]
    fuses = args.hotwords is not None or any(model in wanted for model in MODELS)
    if args.search is None and (missing or fuses):
        decode = with_beam({**config, "decode": decode})
        missing = [name for name in wanted if not _takes(decode, name)]
    if missing:
        takes = [option(name) for name in given if _takes(decode, name)]
        raise InputError(
            f"{option(missing[0])} is not an option of the search {_name_of(decode)}; "
            f"allowed: {', '.join(takes) or 'none'}"
        )
    decode |= {name: given[name] for name in wanted}
    for model, names in MODELS.items():
        for name in () if decode.get(model) is not None else names:
            if given[name] is not None:
                raise InputError(f"{option(name)} needs a language model; give {option(model)} too")
    if decode.get("lodr") is not None and decode.get("lm") is None:
        raise InputError("--lodr is subtracted from a language model; give --lm too")
    default = inspect.signature(target_class(decode, "decode")).parameters.get("beam")
    beam = decode.get("beam", default.default if default else n_best)
    if n_best > max(1, beam):
        raise InputError(f"--n-best {n_best}: a beam of {beam} holds fewer; widen --beam")
    return decode


def _takes(decode: Mapping[str, Any], name: str) -> bool:
    """Return whether a search has an option."""
    return name in inspect.signature(target_class(decode, "decode")).parameters


def _searches() -> dict[str, dict[str, Any]]:
    """Return the searches of configs/decode by their names."""
    from asr.cli.recipe import locate_configs

    files = sorted((locate_configs() / "decode").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


def _name_of(decode: Mapping[str, Any]) -> str:
    """Return the name of a search's config, or of its class if it is a plugin's."""
    target = str(decode[TARGET])
    same = (name for name, search in _searches().items() if search[TARGET] == target)
    return next(same, target)


def _named_search(words: str) -> dict[str, Any]:
    """Return the config of ``--search``."""
    name, *changes = words.split(",")
    searches = _searches()
    if name not in searches:
        raise InputError(f"--search {shown(name)}: allowed: {', '.join(searches)}")
    decode = searches[name]
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or key not in decode or key == "_target_":
            keys = ", ".join(one for one in decode if one != "_target_") or "none"
            raise InputError(
                f"--search {name}: {shown(change)}: allowed: KEY=VALUE, with keys {keys}"
            )
        try:
            decode[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--search {name}: {shown(change)}: not a value") from None
    return decode
