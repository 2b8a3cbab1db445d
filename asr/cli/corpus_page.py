"""The page about a prepared corpus."""

from __future__ import annotations

from collections.abc import Sequence

from asr.atomic import write_text
from asr.data.summary import PrepareSummary, Skipped
from asr.report.corpus.page import Unknown, page

FILE_NAME = "summary.html"


def write_page(
    summary: PrepareSummary,
    *,
    changed: Sequence[Skipped] = (),
    unknown: Unknown | None = None,
) -> None:
    """Write ``summary.html`` beside the manifests."""
    write_text(summary.out / FILE_NAME, page(summary, changed=changed, unknown=unknown))
