"""Model packages on the Hugging Face Hub: ``hf://owner/name``, optionally at a revision.

A package is downloaded into the Hub's own cache (``HF_HOME``, ``HF_HUB_OFFLINE`` and
``HF_ENDPOINT`` work as usual). Only the files of a package are downloaded, and `load_package`
treats them like any stranger's: nothing in them runs. Only packages that load are pushed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from asr.errors import InputError, check_installed
from asr.model.package import CARD, FILES, load_package, package_folder

SCHEME = "hf://"
EVALUATIONS = ".eval_results"
LIBRARY, TASK = "encore", "automatic-speech-recognition"
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_NAME = re.compile(
    rf"hf:/{{1,2}}(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[\w./-]{{1,255}}))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOTS = "snapshots"


def is_hub(name: object) -> bool:
    """Return whether it names a model on the Hub; a path keeps only one of the two slashes."""
    return str(name).startswith("hf:/")


def local_model(name: str | Path) -> Path:
    """Return the folder of a model: its place in the Hub's cache, or ``name`` itself.

    Raises:
        InputError: an invalid name, no such model, or no connection to the Hub.
    """
    return _fetch(str(name)) if is_hub(name) else Path(name)


def pinned(name: str) -> str:
    """Return ``name`` with its current commit, if it is on the Hub."""
    if not is_hub(name):
        return name
    repository, revision = _split(name)
    commit = revision if _COMMIT.fullmatch(revision or "") else _fetch(name).name
    return f"{SCHEME}{repository}@{commit}"


def name_of(folder: Path) -> str | None:
    """Return ``name@commit`` of a package in the Hub's cache, None for any other folder."""
    if folder.parent.name != _SNAPSHOTS or not folder.parent.parent.name.startswith("models--"):
        return None
    return f"{folder.parent.parent.name.rpartition('--')[2]}@{folder.name[:8]}"


def _split(name: str) -> tuple[str, str | None]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"{name}: allowed: {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION")
    return found["repository"], found["revision"]


def _fetch(name: str) -> Path:
    repository, revision = _split(name)
    check_hub_installed(name)
    from huggingface_hub import snapshot_download

    with _one_line(name):
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*FILES, CARD],
            endpoint=os.environ.get("HF_ENDPOINT"),
            cache_dir=os.environ.get("HF_HUB_CACHE"),
            local_files_only=os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "TRUE"),
        )
    return Path(folder)


def check_hub_installed(what: str) -> None:
    """Raise InputError if the Hub's library is not installed."""
    check_installed(what, ("huggingface_hub",), extra="hub")


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn errors of the Hub and of the connection to it into an InputError."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError:
        raise InputError(f"{what}: the Hub has no such revision of it") from None
    except RepositoryNotFoundError:
        raise InputError(f"{what}: no such model on the Hub, or it needs `hf auth login`") from None
    except LocalEntryNotFoundError:
        raise InputError(f"{what}: not in the cache, and the Hub cannot be reached") from None
    except (*HfHubHTTPError.__bases__, HFValidationError) as error:
        raise InputError(f"{what}: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardData:
    """Metadata that the Hub shows for a model, beside its card.

    ``datasets`` are ids of data sets on the Hub, one or none for every split of ``wer`` (percent).
    """

    name: str
    license: str | None = None
    language: str | None = None
    datasets: Mapping[str, str] | None = None
    wer: Mapping[str, float] | None = None

    def front_matter(self) -> str:
        """Return the YAML block at the start of a README on the Hub."""
        datasets = self.datasets or {}
        results = [
            {
                "task": {"type": TASK, "name": "Speech Recognition"},
                "dataset": {"name": split, "type": datasets.get(split, split), "split": split},
                "metrics": [{"type": "wer", "name": f"WER of {split}", "value": round(wer, 3)}],
            }
            for split, wer in (self.wer or {}).items()
        ]
        content = {
            "library_name": LIBRARY,
            "pipeline_tag": TASK,
            "license": self.license,
            "language": self.language,
            "datasets": list(dict.fromkeys(datasets.values())),
            "tags": [LIBRARY, "attention-reuse"],
            "model-index": [{"name": self.name, "results": results}] if results else None,
        }
        kept = {key: value for key, value in content.items() if value}
        return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)}---\n"

    def evaluations(self) -> dict[str, str]:
        """Return files of `EVALUATIONS` for the splits whose data set is on the Hub."""
        day = datetime.now(UTC).date().isoformat()
        files = {}
        for split, dataset in (self.datasets or {}).items():
            if split in (self.wer or {}):
                entry = {"dataset": {"id": dataset, "task_id": split}}
                value = {"value": round((self.wer or {})[split], 3), "date": day}
                files[f"{EVALUATIONS}/{split}.yaml"] = yaml.safe_dump([{**entry, **value}])
        return files


def push(folder: Path, repository: str, data: CardData, *, is_private: bool, message: str) -> str:
    """Load a package and upload its files, its card with ``data``, and evaluations to the Hub.

    Returns its name with the new commit.

    Raises:
        InputError: a package that does not load, an invalid name, or an error of the Hub.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise InputError(f"{repository}: allowed: OWNER/NAME")
    folder = package_folder(folder)
    load_package(folder)
    check_hub_installed("asr push")
    from huggingface_hub import CommitOperationAdd, HfApi

    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    texts = {CARD: data.front_matter() + without_front_matter(card), **data.evaluations()}
    added = [CommitOperationAdd(name, str(folder / name)) for name in FILES]
    added += [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _one_line(repository):
        api.create_repo(repository, private=is_private, exist_ok=True)
        done = api.create_commit(repository, added, commit_message=message)
    return f"{SCHEME}{repository}@{done.oid}"


def without_front_matter(card: str) -> str:
    """Return a README without the YAML block that it may begin with."""
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.S)


def record_of(folder: Path) -> Mapping[str, Any]:
    """Return the record of the run that made the package, empty if there is none."""
    path = package_folder(folder).resolve().parent / "record.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def split_datasets(pairs: Sequence[str]) -> dict[str, str]:
    """Parse ``SPLIT=OWNER/NAME`` pairs to a mapping.

    Raises:
        InputError: other text.
    """
    found = {}
    for pair in pairs:
        split, equals, dataset = pair.partition("=")
        if not split or not equals or not _REPOSITORY.fullmatch(dataset):
            raise InputError(f"--dataset {pair}: allowed: SPLIT=OWNER/NAME")
        found[split] = dataset
    return found
