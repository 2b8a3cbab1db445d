from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    """Seeds, one thread, full float32: a test gives the same numbers alone and among others."""
    random.seed(0)
    np.random.seed(0)  # libraries draw from the global generator
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # float32 of a GPU is that of a CPU


@pytest.fixture
def speech_dir() -> Path:
    """The folder of real speech that ``ASR_SPEECH_DIR`` names; without one the test is skipped."""
    folder = os.environ.get("ASR_SPEECH_DIR", "")
    if not folder:
        pytest.skip("needs real speech: set ASR_SPEECH_DIR")
    path = Path(folder).resolve()
    assert path.is_dir(), f"ASR_SPEECH_DIR={folder} is not a folder"
    return path


def pytest_collection_finish() -> None:
    """Take what the imports made from the garbage collector, which timers run before they start."""
    gc.collect()
    gc.freeze()


LONGEST = ("training", "cli", "contracts", "interop")
"""Folders whose files take longest; they come first, so that no process ends with one alone."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a CUDA device where there is none; pytest counts it as deselected."""
    here = Path(__file__).parent
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(here).parts[0], len(order)))
    if torch.cuda.is_available():
        return
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu:
        config.hook.pytest_deselected(items=for_gpu)
        items[:] = [item for item in items if item not in set(for_gpu)]
