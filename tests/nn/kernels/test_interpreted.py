"""Where there is no CUDA device, the tests of this folder run in Triton's interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).parents[3]
FILES = ("test_relative_attention.py", "test_mix.py", "test_in_encoders.py", "test_operation.py")


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the tests run on the CUDA device")
def test_the_kernels_in_the_interpreter() -> None:
    """The interpreter is chosen as Triton is imported, so in a process of its own."""
    folder = Path(__file__).parent.relative_to(REPO)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
    finished = subprocess.run(
        [*command, *(str(folder / name) for name in FILES)],
        cwd=REPO,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"^\d+ passed in", finished.stdout, re.MULTILINE), finished.stdout
