"""What an earlier preparation of a corpus has left, and whether it is still whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asr.data.changed import find_changed
from asr.data.prepare import report_rows
from asr.data.summary import PrepareSummary, read_summary
from asr.types import InputError

Report = Callable[[str], None]


def read_own_summary(out: Path, name: str) -> PrepareSummary:
    """What is known of ``out``, which may be nothing; never mixes corpora."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the corpus")
    summary = read_summary(out)
    if summary is None:
        return PrepareSummary(out, {}, (), {"corpus": name})
    if summary.settings.get("corpus") != name:
        raise InputError(
            f"{out} holds {summary.settings.get('corpus')}; name another folder for {name}"
        )
    return summary


def is_complete(summary: PrepareSummary, part: str, report: Report) -> bool:
    """Whether manifest and audio of a part are as they were written; says what is not."""
    split = summary.splits.get(part)
    if split is None:
        return False
    if not split.is_intact:
        report(f"{split.manifest} is not as it was written; preparing {part} again")
        return False
    changed = find_changed(split.manifest)
    if changed:
        report(f"{part}: {len(changed):,} files changed after it was prepared; preparing it again")
        report_rows("changed", changed, report)
    return not changed
