"""The recipes for LibriSpeech: sizes as published, and headers that say what is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asr.cli.compose import compose_recipe
from asr.head.ctc import CtcHead
from asr.model.build import build_encoder

from .test_configs import num_parameters
from .test_readme import commands_in
from .tree import RECIPES, relative

PUBLISHED_MILLIONS: dict[str, float | None] = {
    "mini_conformer_xs": None,
    "100h_conformer_s": 13.0,
    "100h_conformer_m": 30.0,
    "960h_conformer_s": 13.0,
    "960h_conformer_m": 30.0,
    "960h_conformer_l": 121.0,
    "960h_transformer": None,
}
NEEDED = (
    *("Cost: not measured here", "--dry-run", "Result: not run here", "WER", "asr prepare musan"),
    *(
        "reuse=probs",
        "reuse=context",
        "data.noise.folder=data/musan",
        "data.reverb.folder=data/rirs",
    ),
)


def recipes() -> list[Path]:
    return sorted((RECIPES / "librispeech").glob("*.yaml"))


def header(path: Path) -> str:
    """The comment on top, in one line."""
    lines = path.read_text().partition("defaults:")[0].splitlines()
    return " ".join(" ".join(line.lstrip("#") for line in lines).split())


def size(path: Path, *overrides: str) -> int:
    """Parameters of the whole model."""
    config = compose_recipe(path, overrides)
    with torch.device("meta"):
        encoder = build_encoder(config)
        vocab_size = config["text"]["tokenizer"]["vocab_size"]
        head = CtcHead(d_model=encoder.d_model, vocab_size=vocab_size, dropout=0.0)
    return num_parameters(encoder) + num_parameters(head)


def test_all_are_there() -> None:
    assert [path.stem for path in recipes()] == sorted(PUBLISHED_MILLIONS)


@pytest.mark.parametrize("path", recipes(), ids=relative)
def test_the_size_is_the_published_one(path: Path) -> None:
    published = PUBLISHED_MILLIONS[path.stem]
    if published is not None:
        assert size(path) / 1e6 == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("path", recipes(), ids=relative)
def test_the_header_is_complete(path: Path) -> None:
    text = header(path)
    for words in NEEDED:
        assert words in text, f"{relative(path)} lacks {words!r}"
    assert any(source in text for source in ("README", "RESULTS", ".csv", "egs/"))
    first = commands_in(path)
    assert first[0][:2] == ["asr", "prepare"]
    assert first[1] == ["asr", "train", relative(path)]


@pytest.mark.parametrize("path", recipes(), ids=relative)
def test_each_shown_reuse_saves_parameters(path: Path) -> None:
    shown = {}
    for words in commands_in(path):
        reuse = [word for word in words if word.startswith("reuse")]
        if words[1] == "train" and reuse:
            shown[reuse[0]] = size(path, *reuse)
    assert set(shown) == {"reuse=probs", "reuse=context"}
    whole = size(path)
    assert all(few < whole for few in shown.values())


@pytest.mark.parametrize("path", recipes(), ids=relative)
def test_what_every_recipe_does(path: Path) -> None:
    config = compose_recipe(path)
    assert config["name"] == path.stem
    assert config["text"]["tokenizer"]["kind"] == "bpe"
    assert {"specaugment", "speed"} <= set(config["features"])
    assert config["data"]["noise"]["folder"] is None
    assert config["data"]["reverb"]["folder"] is None
    assert config["train"]["averaging"]["kind"] == "ema"
