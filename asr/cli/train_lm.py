"""`asr train` for recipes of language models: train on a text; write a run folder."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.cli.lm import sentences
from asr.cli.recipe import check_keys_for, recipe_name
from asr.cli.run_folder import RunFolder, essential
from asr.cli.run_lock import locked
from asr.cli.run_log import logged
from asr.cli.run_summary import log
from asr.cli.training_setup import make_normalizer
from asr.errors import InputError
from asr.files import check_folder, write_text
from asr.model.build import build
from asr.model.language_model import build_lm, save_lm
from asr.profiling.hardware import describe_hardware, installed_versions, source_revision
from asr.ranges import Seed, check_value
from asr.report.plain import to_plain
from asr.text.tokenizer import Tokenizer
from asr.train.optim import AdamWSpec
from asr.train.sentences import Sentences
from asr.train.text import TextFit, TextTrainerSpec, fit_text

NEEDED = ("text.normalize", "text.tokenizer", "lm", "train.optim", "train.text", "seed", "splits")
RESULT = "language_model.json"
EXIT_INTERRUPT = 130


@dataclass(frozen=True, slots=True)
class Text:
    """Sentences of a text as tokens, and their number of words."""

    sentences: Sentences
    num_words: int
    num_unknown: int

    @classmethod
    def read(cls, path: Path, tokenizer: Tokenizer, normalizer: Any, *, max_tokens: int) -> Text:
        """Read the sentences of a text or a manifest, normalised like transcripts."""
        spelt = [line for (line,) in sentences(path, lambda text: _whole(normalizer(text)))]
        ids = [tokenizer.encode(line) for line in spelt]
        if not ids:
            raise InputError(f"{path}: no sentence")
        return cls(
            Sentences(ids, max_tokens=max_tokens),
            num_words=sum(len(line.split()) for line in spelt),
            num_unknown=sum(one.count(tokenizer.unk_id) for one in ids),
        )

    def __str__(self) -> str:
        unknown = f", {self.num_unknown:,} of them unknown" if self.num_unknown else ""
        found = self.sentences
        num_tokens = found.num_predicted - len(found)
        return f"{len(found):,} sentences, {self.num_words:,} words, {num_tokens:,} tokens{unknown}"

    def word_perplexity(self, loss: float) -> float:
        """Return the perplexity per word, with ends of sentences, for ``loss`` nats per token."""
        found = self.sentences
        return math.exp(loss * found.num_predicted / (self.num_words + len(found)))


def train_language_model(
    args: argparse.Namespace, config: Mapping[str, Any], recipe: Path, folder: RunFolder | None
) -> int:
    """Train, package, and print the perplexity; return the exit code.

    Raises:
        InputError: the settings or text cannot work, or the run was begun with other settings.
    """
    check_keys_for("train a language model", NEEDED, config, recipe)
    for option, value in (("--dry-run", args.dry_run), ("--json", args.json), ("--out", args.out)):
        if value:
            raise InputError(f"{option} is for recognisers, not for language models")
    check_value(config["seed"], Seed, "seed")
    paths = read_paths(config)
    spec: TextTrainerSpec = build(config["train"]["text"], "train.text")
    optim: AdamWSpec = build(config["train"]["optim"], "train.optim")
    build_lm(config, 2)
    folder = folder or default_folder(config, recipe, paths)
    check_folder(folder.path)
    with locked(folder.path):
        if args.resume is None and folder.is_begun():
            raise InputError(
                f"{folder.path} holds a run that has begun; `{folder.resume_command}` goes on, "
                "another --run-dir trains again"
            )
        if args.resume is not None:
            for change in folder.check_same_config(config):
                log(change.notice)
        with logged(folder.path, args.command, begun=folder.config):
            return _train(args, config, folder, paths, spec, optim)


def read_paths(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the paths of ``splits.train`` and, if set, ``splits.dev``.

    Raises:
        InputError: there is another key, no text to train on, or a file is missing.
    """
    given = config["splits"]
    if not isinstance(given, Mapping) or set(given) - {"train", "dev"}:
        raise InputError(f"splits={given}: allowed: train and dev, a text or a manifest each")
    found = {key: Path(str(value)) for key, value in given.items() if value}
    if "train" not in found:
        raise InputError("splits.train must be set to a text, a sentence per line, or a manifest")
    for key, path in found.items():
        if not path.is_file():
            raise InputError(f"splits.{key}={path}: no such file")
    return found


def default_folder(config: Mapping[str, Any], recipe: Path, paths: Mapping[str, Path]) -> RunFolder:
    """Return the run folder for these settings and texts."""
    digest = hashlib.sha256(json.dumps(essential(config), sort_keys=True).encode())
    for path in paths.values():
        digest.update(str(path.stat().st_size).encode())
    name = recipe_name(recipe, config)
    return RunFolder(Path("runs") / name / f"lm-{digest.hexdigest()[:8]}")


def _train(
    args: argparse.Namespace,
    config: Mapping[str, Any],
    folder: RunFolder,
    paths: Mapping[str, Path],
    spec: TextTrainerSpec,
    optim: AdamWSpec,
) -> int:
    normalizer = make_normalizer(config)
    tokenizer = build(config["text"]["tokenizer"], "text.tokenizer").train(
        line for (line,) in sentences(paths["train"], lambda text: _whole(normalizer(text)))
    )
    texts = {
        key: Text.read(path, tokenizer, normalizer, max_tokens=spec.max_tokens)
        for key, path in paths.items()
    }
    for key, text in texts.items():
        log(f"{key}: {text} -> {paths[key]}")
    model = build_lm(config, tokenizer.vocab_size)
    log(f"{sum(one.numel() for one in model.parameters()):,} parameters, run folder {folder.path}")
    folder.begin(config)
    dev = texts.get("dev")
    result = fit_text(
        model,
        texts["train"].sentences,
        None if dev is None else dev.sentences,
        spec=spec,
        optim=optim,
        seed=config["seed"],
        run_dir=folder.path,
        report=log,
    )
    told = fit_line(result, dev)
    save_lm(
        folder.model, model=model, tokenizer=tokenizer, config=config, card=lm_card(config, told)
    )
    content = {
        "command": args.command,
        "config": dict(config),
        "result": asdict(result),
        "dev_word_perplexity": None
        if result.loss is None or dev is None
        else dev.word_perplexity(result.loss),
        "hardware": to_plain(describe_hardware(spec.machine().device)),
        "versions": installed_versions(),
        "revision": to_plain(source_revision()),
    }
    write_text(folder.path / RESULT, json.dumps(content, indent=2) + "\n")
    if result.interrupted:
        log(f"interrupted; the model so far is in {folder.model}; go on: {folder.resume_command}")
        return EXIT_INTERRUPT
    print(told)
    print(f"model: {folder.model}")
    return 0


def fit_line(result: TextFit, dev: Text | None) -> str:
    """Describe the result in one line."""
    told = f"{result.num_steps:,} steps in {result.train_s:.0f} s"
    if result.loss is None or dev is None:
        return f"{told}; no dev text (splits.dev), so the last weights are kept"
    return (
        f"{told}; dev: {result.loss:.3f} nats per token, perplexity {math.exp(result.loss):.1f} "
        f"per token and {dev.word_perplexity(result.loss):.1f} per word"
    )


def lm_card(config: Mapping[str, Any], told: str) -> str:
    """Write the README of the package."""
    return "\n".join(
        [
            f"# {config.get('name') or 'lm'}: a language model",
            "",
            "Over the tokens of a recogniser with the same tokenizer:",
            "",
            "    asr transcribe FILE --model RECOGNISER --beam 10 --lm THIS_FOLDER",
            "",
            f"{told}.",
            "",
        ]
    )


def _whole(line: str) -> tuple[str, ...]:
    """Return a sentence as one word; nothing if it is empty."""
    return (line,) if line else ()
