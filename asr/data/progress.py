"""The default of every ``report``: a line on standard error."""

from __future__ import annotations

import sys


def print_progress(line: str) -> None:
    """Print ``line`` where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)
