"""Audio that is not what it was when its manifest was written."""

from __future__ import annotations

from pathlib import Path

from asr.data.manifest import audio_num_bytes, audio_path, read_manifest
from asr.data.summary import Skipped


def find_changed(manifest: Path) -> list[Skipped]:
    """The files of ``manifest`` that are gone or have another size; none of them is opened."""
    changed = {}
    for cut in read_manifest(manifest):
        path, expected = audio_path(cut), audio_num_bytes(cut)
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            changed[path] = Skipped(str(path), "is gone")
        elif expected is not None and size != expected:
            changed[path] = Skipped(str(path), f"has {size:,} bytes, {expected:,} when prepared")
    return list(changed.values())
