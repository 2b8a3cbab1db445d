"""The folder of a run: its name, its files, and the check whether a run may continue there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from asr.cli.parser import command_text
from asr.cli.recipe import RUN_CONFIG, dotted_keys, lookup, recipe_name
from asr.data.splits import Splits
from asr.errors import InputError
from asr.files import clear_partials, write_text
from asr.interop.hub import local_model, name_of
from asr.model.package import CHECKPOINTS, RUN_MODEL, WEIGHTS, check_files, package_folder
from asr.report.record import RECORD_FILE, RunRecord


def run_name(model: Path) -> str:
    """Return the name of a model folder, or of the run folder that holds it as ``model``.

    Raises:
        InputError: see `package_folder`.
    """
    folder = package_folder(model).resolve()
    if folder.name == RUN_MODEL:
        return folder.parent.name
    return name_of(folder) or folder.name


EXECUTION_ONLY = (
    "metrics",
    "data.loader.num_workers",
    "data.dataset.cache_audio",
    "train.trainer.num_threads",
    "train.text.num_threads",
    "train.trainer.log_every_steps",
    "train.trainer.print_every_s",
    "train.trainer.loggers",
    "train.trainer.save_every_steps",
    "train.trainer.save_every_minutes",
    "train.trainer.max_bad_steps",
    "train.trainer.max_bad_steps_in_row",
    "data.loader.max_unreadable",
)
"""Keys that affect how a run is executed or measured, but not its outcome."""

LENGTH = ("train.trainer.max_steps", "train.trainer.max_epochs", "train.trainer.max_minutes")
"""Keys for the length of a run; a finished run continues if one is increased."""

_DEALT_ANEW = "the rest of the epoch is batched again"
MAY_CHANGE = {
    **dict.fromkeys(LENGTH, "a learning rate that depends on the length uses the new one"),
    "data.batching.max_duration_s": _DEALT_ANEW,
    "train.trainer.accumulate": "",
    "train.trainer.validate_every_steps": "",
    "train.trainer.validate_every_epochs": "",
    "train.trainer.accelerator": "losses follow those of the other device, not bit for bit",
    "train.trainer.devices": _DEALT_ANEW,
    "train.trainer.num_nodes": _DEALT_ANEW,
    "train.trainer.strategy": "",
    "train.text.max_steps": "a learning rate that depends on the length uses the new one",
    "train.text.validate_every_steps": "",
    "train.text.accelerator": "losses follow those of the other device, not bit for bit",
}
"""Keys that affect the outcome but may change in a resumed run, with a note for the user."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs from the original config of a run."""

    key: str
    begun: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}={self.begun}, now {self.now}"

    @property
    def notice(self) -> str:
        """Message for a user who makes the change."""
        remark = MAY_CHANGE[self.key]
        return f"changed: {self}" + (f" ({remark})" if remark else "")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the run in tables."""
        return self.path.name

    @property
    def model(self) -> Path:
        """The model package."""
        return self.path / RUN_MODEL

    @property
    def record(self) -> Path:
        """The run record."""
        return self.path / RECORD_FILE

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / RUN_CONFIG

    @classmethod
    def holding(cls, path: Path) -> RunFolder:
        """Return the run of ``path``: its folder, or its config, model or a checkpoint.

        Raises:
            InputError: there is no run.
        """
        for folder in (path, path.parent, path.parent.parent):
            if (folder / RUN_CONFIG).is_file():
                return cls(folder)
        there = "holds no run" if path.exists() else "is not there"
        raise InputError(f"{path} {there}; a run folder has {RUN_CONFIG}, as `asr train` left it")

    @property
    def resume_command(self) -> str:
        """Command that resumes this run."""
        return command_text(["asr", "train", "--resume", self.path])

    @property
    def metrics(self) -> Path:
        """The log of training, an entry per row."""
        return self.path / "logs" / "metrics.csv"

    def hypotheses(self, split: str, exit: int | None = None, chunk_ms: str | None = None) -> Path:
        """Return the path of a split's hypotheses, by exit and chunk length, if any."""
        name = split if exit is None else f"{split}-exit-{exit}"
        name = name if chunk_ms is None else f"{name}-{chunk_ms}-ms"
        return self.path / "hypotheses" / f"{name}.jsonl"

    def finished_record(self) -> RunRecord | None:
        """Return the record of a run whose training is finished, else None."""
        if not self.record.is_file():
            return None
        record = RunRecord.load(self.record)
        return None if record.training is None or record.training.interrupted else record

    def is_begun(self) -> bool:
        """Return whether there is a checkpoint to resume."""
        return (self.path / CHECKPOINTS / "last.ckpt").is_file()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the resolved config; the run has begun, and is finished once it has a record."""
        if self.path.is_dir():
            clear_partials(self.path)
        write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
        self.record.unlink(missing_ok=True)

    def check_no_change(self, config: Mapping[str, Any]) -> None:
        """Raise InputError if ``config`` changes the outcome or measurements of a finished run.

        Keys that only affect the execution may differ, since nothing is executed.
        """
        begun: Any = OmegaConf.to_container(OmegaConf.load(self.config))
        measured = ({"metrics": each.get("metrics", {})} for each in (begun, config))
        idle = [*differences(begun, config), *_changed(*measured)]
        if idle:
            raise InputError(
                f"{self.path} holds a finished run, in which {'; '.join(map(str, idle))} has no "
                f"effect; {', '.join(LENGTH)} make it longer, `asr evaluate` measures again"
            )

    def check_same_config(self, config: Mapping[str, Any]) -> list[Change]:
        """Return the keys of `MAY_CHANGE` that differ from the folder's original config.

        Raises:
            InputError: other keys that affect the outcome differ; the message names them.
        """
        if not self.config.is_file():
            return []
        changes = differences(OmegaConf.to_container(OmegaConf.load(self.config)), config)
        refused = [change for change in changes if change.key not in MAY_CHANGE]
        if refused:
            allowed = [key for key in MAY_CHANGE if lookup(config, key.rpartition(".")[0])]
            raise InputError(
                f"{self.path} was begun with {'; '.join(map(str, refused))}: resume with the same "
                f"settings (`{self.resume_command}` reads them there), or choose another --run-dir "
                f"(init= takes over the weights); allowed to change: {', '.join(allowed)}"
            )
        return changes


def _changed(begun: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    keys = dict.fromkeys([*dotted_keys(begun), *dotted_keys(now)])
    return [
        Change(key, lookup(begun, key), lookup(now, key))
        for key in keys
        if lookup(begun, key) != lookup(now, key)
        and not any(isinstance(lookup(config, key), Mapping) for config in (begun, now))
    ]


def differences(begun: Any, now: Any) -> list[Change]:
    """Return the keys that affect the outcome and differ between two configs."""
    return _changed(essential(begun), essential(now))


def default_run_folder(config: Mapping[str, Any], recipe: Path, splits: Splits) -> RunFolder:
    """Return the run folder for these settings, manifests, initial weights and teacher."""
    digest = hashlib.sha256(json.dumps(essential(config), sort_keys=True).encode())
    for split in splits.names:
        digest.update(splits.digest(split))
    for model in (config.get("init"), lookup(config, "train.distillation.teacher")):
        if model:
            package = package_folder(local_model(model))
            check_files(package)
            digest.update((package / WEIGHTS).read_bytes())
    reuse = config["reuse"]["_target_"].split(".")[-2]
    name = recipe_name(recipe, config)
    return RunFolder(Path("runs") / name / f"{reuse}-{digest.hexdigest()[:8]}")


def essential(config: Any) -> dict[str, Any]:
    """Return the config without the keys of `EXECUTION_ONLY`."""
    kept: dict[str, Any] = json.loads(json.dumps(config))
    for key in EXECUTION_ONLY:
        *sections, leaf = key.split(".")
        section: Any = kept
        for name in sections:
            section = section.get(name, {})
        section.pop(leaf, None)
    return kept
