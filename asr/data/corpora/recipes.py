"""Preparing any corpus that has a lhotse recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lhotse.recipes
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from asr.data.prepare import RawUtterance
from asr.data.summary import Skipped
from asr.errors import InputError

_PREFIX = "prepare_"
_OUTPUT = ("output_dir", "manifest_dir")  # where a recipe writes its own manifests


def recipe_names() -> tuple[str, ...]:
    """Return the corpora with a recipe, as `asr prepare lhotse` names them."""
    names = (name.removeprefix(_PREFIX) for name in dir(lhotse.recipes) if _is_recipe(name))
    return tuple(sorted(names))


def recipe_utterances(
    name: str,
    sources: Sequence[str],
    *,
    options: Mapping[str, Any],
    folder: Path,
    num_jobs: int,
) -> list[RawUtterance | Skipped]:
    """Read the utterances of the corpus ``name`` (from ``recipe_names``).

    ``sources`` are the recipe's first arguments, in order, without its output folder, which is
    ``folder`` if the recipe requires one; ``options`` are further arguments by name. Recordings of
    several files, single channels of several, and recordings that are not plain files are skipped.

    Raises:
        InputError: the recipe lacks an option, takes fewer sources, fails, or gives no
            transcripts.
    """
    recipe = getattr(lhotse.recipes, _PREFIX + name)
    arguments = _arguments(name, recipe, sources, options, folder, num_jobs)
    try:
        result = recipe(**arguments)
        found = list(_utterances(name, result))
    except Exception as error:  # recipes raise anything if a corpus is not as expected
        kind = type(error).__name__
        raise InputError(f"lhotse's recipe {name} failed ({kind}): {error}") from error
    if not found:
        raise InputError(f"lhotse's recipe {name} gives no transcripts for {', '.join(sources)}")
    return found


def _is_recipe(name: str) -> bool:
    return name.startswith(_PREFIX) and callable(getattr(lhotse.recipes, name))


def _arguments(
    name: str,
    recipe: Callable[..., Any],
    sources: Sequence[str],
    options: Mapping[str, Any],
    folder: Path,
    num_jobs: int,
) -> dict[str, Any]:
    parameters = inspect.signature(recipe).parameters
    own = [key for key in parameters if key not in _OUTPUT]
    unknown = [key for key in options if key not in own]
    if unknown:
        raise InputError(f"lhotse's recipe {name} has no option {unknown[0]}; it has {own}")
    if len(sources) > len(own):
        raise InputError(f"lhotse's recipe {name} takes {own}; {len(sources)} sources are too many")
    arguments: dict[str, Any] = {**dict(zip(own, sources, strict=False)), **options}
    if "num_jobs" in own:
        arguments.setdefault("num_jobs", num_jobs)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            if key not in _OUTPUT:
                raise InputError(f"lhotse's recipe {name} needs {key}; it takes {own}")
            folder.mkdir(parents=True, exist_ok=True)
            arguments[key] = folder
    return arguments


def _utterances(
    name: str, result: Any, split: str | None = None
) -> Iterator[RawUtterance | Skipped]:
    """Yield utterances; recipes return recordings and supervisions, or cuts, in nested splits."""
    if isinstance(result, tuple) and len(result) == 2:
        result = {"recordings": result[0], "supervisions": result[1]}
    if isinstance(result, CutSet):
        result = {"cuts": result}
    if not isinstance(result, Mapping):
        return
    recordings, supervisions = result.get("recordings"), result.get("supervisions")
    if isinstance(recordings, RecordingSet) and isinstance(supervisions, SupervisionSet):
        by_id = {recording.id: recording for recording in recordings}
        for spoken in supervisions:
            yield _utterance(name, spoken, by_id.get(spoken.recording_id), spoken.start, split)
    elif isinstance(cuts := result.get("cuts"), CutSet):
        for cut in cuts:
            for spoken in cut.supervisions:
                yield _utterance(
                    name, spoken, getattr(cut, "recording", None), cut.start + spoken.start, split
                )
    else:
        for key, part in result.items():
            yield from _utterances(name, part, f"{split}-{key}" if split else str(key))


def _utterance(
    name: str,
    spoken: SupervisionSegment,
    recording: Recording | None,
    start_s: float,
    split: str | None,
) -> RawUtterance | Skipped:
    where = f"lhotse {name}, {spoken.id}"
    reason = _reason_to_skip(spoken, recording)
    if reason:
        return Skipped(where, reason)
    assert recording is not None
    is_whole = start_s == 0 and abs(spoken.duration - recording.duration) < 0.01
    return RawUtterance(
        where,
        spoken.id,
        Path(recording.sources[0].source),
        spoken.text or "",
        spoken.speaker,
        split,
        start_s,
        None if is_whole else spoken.duration,
    )


def _reason_to_skip(spoken: SupervisionSegment, recording: Recording | None) -> str:
    if recording is None:
        return f"no recording {spoken.recording_id}"
    if len(recording.sources) != 1:
        return f"recording {recording.id} lies in {len(recording.sources)} files; one is allowed"
    kind = recording.sources[0].type
    if kind != "file":
        return f"recording {recording.id} is a {kind}; only files are read"
    if recording.transforms:
        return f"recording {recording.id} is changed on reading; only plain files are read"
    channels = spoken.channel if isinstance(spoken.channel, list) else [spoken.channel]
    if set(channels) != set(recording.channel_ids):
        return (
            f"speaks on channel {channels[0]} of {recording.num_channels}; "
            "channels are mixed here, split the file first"
        )
    return ""
