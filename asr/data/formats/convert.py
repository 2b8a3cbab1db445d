"""Our manifests to those of other toolkits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from asr.data.formats.kaldi import write_kaldi
from asr.data.formats.nemo import write_nemo
from asr.data.formats.stretch import read_stretches
from asr.data.progress import print_progress
from asr.types import InputError

FORMATS = ("nemo", "kaldi")


def convert(
    manifests: Sequence[Path],
    out: Path,
    *,
    format: str,
    report: Callable[[str], None] = print_progress,
) -> list[Path]:
    """Write ``<out>/<split>.json`` (nemo) or a folder ``<out>/<split>`` (kaldi) for each manifest.

    An utterance whose audio is not there is named and left out.
    """
    assert format in FORMATS
    splits = [manifest.name.partition(".")[0] for manifest in manifests]
    for split in splits:
        if splits.count(split) > 1:
            raise InputError(f"two manifests are named {split}; write them to folders of their own")
    written = []
    for manifest, split in zip(manifests, splits, strict=True):
        stretches = read_stretches(manifest, report)
        path = out / (f"{split}.json" if format == "nemo" else split)
        if format == "nemo":
            write_nemo(stretches, path)
        else:
            write_kaldi(stretches, path)
        report(f"{split}: {len(stretches):,} utterances -> {path}")
        written.append(path)
    return written
