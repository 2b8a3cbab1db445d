"""The guides are current: their references, code, links and walks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import random_features, tiny_encoder

from .tree import REPO

DOCS = sorted((REPO / "docs").glob("*.md"))


def test_the_references_are_current() -> None:
    check = subprocess.run(
        [sys.executable, REPO / "scripts" / "make_reference.py", "--check"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("page", [REPO / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_of_the_walks_is_there() -> None:
    text = (REPO / "docs" / "architecture.md").read_text()
    walks = text.partition("## Four walks")[2].split("\n\n**")[1:]
    assert len(walks) == 4
    for walk in walks:
        files = re.findall(r"`([\w/]+\.py)`", walk)
        assert 4 <= len(files) <= 8
        assert len(set(files)) == len(files)
        assert all((REPO / "asr" / file).is_file() for file in files), files


def test_the_reuse_method_of_the_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a power of one it is the method that it was made from."""
    (code,) = re.findall(
        r"```python\n(.*?)```", (REPO / "docs" / "reuse_method.md").read_text(), re.DOTALL
    )
    module = ModuleType("sharpened")
    monkeypatch.setitem(sys.modules, "sharpened", module)
    exec(code, module.__dict__)
    features_BTF, lengths_B = random_features([30, 13])
    outputs = []
    for reuse in (
        ReuseProbs(group_size=2),
        module.ReuseSharpened(group_size=2, power=1.0),
        module.ReuseSharpened(group_size=2, power=2.0),
    ):
        with torch.no_grad():
            outputs.append(tiny_encoder(reuse=reuse)(features_BTF, lengths_B).frames_BTD[0])
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(outputs[2], outputs[0], atol=1e-3)
