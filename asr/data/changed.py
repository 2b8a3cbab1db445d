"""Audio that is not what it was when its manifest was written."""

from __future__ import annotations

import os
from pathlib import Path

from asr.data.manifest import Cut, audio_path, read_manifest
from asr.data.summary import Skipped


def find_changed(manifest: Path) -> list[Skipped]:
    """The files of ``manifest`` that are gone or have another size; none of them is opened."""
    changed = {}
    for cut in read_manifest(manifest):
        if reason := what_changed(cut):
            changed[cut.source] = Skipped(str(audio_path(cut)), reason)
    return list(changed.values())


def what_changed(cut: Cut) -> str:
    """How the file of a cut differs from what was prepared; empty where it does not."""
    try:
        size = os.stat(cut.source).st_size  # noqa: PTH116  asked of every utterance, every epoch
    except OSError:
        return "is gone"
    if cut.num_bytes in (None, size):
        return ""
    return f"has {size:,} bytes, {cut.num_bytes:,} when prepared"
