"""Labels of utterances, such as accent or gender, for grouping results.

Manifests store them as lhotse does: in the supervision, in its ``custom`` values, or in the cut's.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import InputError, printable
from asr.files import json_object, split_lines

UNLABELLED = "(none)"
_OWN = ("id", "recording_id", "start", "duration", "channel", "text", "custom", "alignment")


def read_labels(path: Path, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read the values of each label by utterance, `UNLABELLED` if an utterance has none.

    ``path`` is a manifest that `read_manifest` can read.

    Raises:
        InputError: no utterance has the label; the message lists the labels found.
    """
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    there: set[str] = set()
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        for _, line in split_lines(gzip.GzipFile(fileobj=raw) if packed else raw, str(path)):
            record = json_object(line)
            labels = _labels(record)
            there |= labels.keys()
            for name in names:
                found[name][str(record["id"])] = labels.get(name, UNLABELLED)
    for name in names:
        if name not in there:
            raise InputError(
                f"{path}: no utterance has a label {printable(name)!r}; there are: "
                f"{', '.join(sorted(map(printable, there))) or 'none'} (`asr prepare folder "
                "--labels` keeps columns)"
            )
    return found


def _labels(record: Mapping[str, Any]) -> dict[str, str]:
    spoken = (record.get("supervisions") or [{}])[0]
    sources = (record.get("custom"), spoken.get("custom"), spoken)
    return {
        str(key): str(value)
        for source in sources
        if isinstance(source, Mapping)
        for key, value in source.items()
        if isinstance(value, str | int | float | bool) and key not in (*_OWN, "offset", "num_bytes")
    }
