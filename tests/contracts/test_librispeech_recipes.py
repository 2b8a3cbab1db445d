"""The recipes for LibriSpeech: sizes as published, and headers that say what is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asr.cli.compose import compose_recipe
from asr.cli.training_setup import check_model
from asr.decode.stream_encoder import check_streams
from asr.model.build import build_encoder, build_head

from .test_configs import num_parameters
from .test_readme import commands_in
from .tree import RECIPES, relative

PUBLISHED_MILLIONS: dict[str, float | None] = {
    "mini_conformer_xs": None,
    "100h_conformer_s": 13.0,
    "100h_conformer_m": 30.0,
    "100h_conformer_m_hybrid": None,
    "100h_conformer_m_streaming": 30.0,
    "100h_conformer_m_transducer": 30.7,
    "960h_conformer_s": 13.0,
    "960h_conformer_m": 30.0,
    "960h_conformer_m_hybrid": None,
    "960h_conformer_m_streaming": 30.0,
    "960h_conformer_m_transducer": 30.7,
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
        head = build_head(config, encoder.d_model, config["text"]["tokenizer"]["vocab_size"])
    return num_parameters(encoder) + num_parameters(head)


def test_all_are_there() -> None:
    assert [path.stem for path in recipes()] == sorted(PUBLISHED_MILLIONS)


@pytest.mark.parametrize("path", recipes(), ids=relative)
def test_the_size_is_the_published_one(path: Path) -> None:
    published = PUBLISHED_MILLIONS[path.stem]
    if published is not None:
        assert size(path) / 1e6 == pytest.approx(published, rel=0.07)


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


LARGE = [path for path in recipes() if path.stem != "mini_conformer_xs"]


def steps_by_devices() -> dict[str, dict[int, tuple[float, int]]]:
    """Recipe -> devices -> seconds of a batch and batches in a step, as slurm.sh tells them."""
    lines = (RECIPES / "librispeech" / "slurm.sh").read_text().splitlines()
    words = [line.lstrip("# ").split() for line in lines]
    (heading,) = [row for row in words if row[:1] == ["recipe"]]
    devices = [int(word) for word in heading[1:]]
    rows = {row[0]: row[1:] for row in words if row and row[0] in PUBLISHED_MILLIONS}
    found = {}
    for name, settings in rows.items():
        split = [setting.split("x") for setting in settings]
        found[name] = {
            count: (float(seconds), int(batches))
            for count, (seconds, batches) in zip(devices, split, strict=True)
        }
    return found


@pytest.mark.parametrize("path", LARGE, ids=relative)
def test_a_step_is_the_same_on_any_number_of_devices(path: Path) -> None:
    config = compose_recipe(path)
    seconds = config["data"]["batching"]["max_duration_s"]
    batches = config["train"]["trainer"]["accumulate"]
    told = steps_by_devices()[path.stem]
    assert sorted(told) == [1, 2, 4, 8]
    assert told[1] == (seconds, batches)
    assert {count * a * b for count, (a, b) in told.items()} == {seconds * batches}
    assert f"Devices: {batches} batches of {seconds:.0f} s make a step on one" in header(path)


@pytest.mark.parametrize("path", LARGE, ids=relative)
def test_depth_is_helped_on_its_way_and_time_is_warped(path: Path) -> None:
    config = compose_recipe(path)
    assert config["encoder"]["num_layers"] >= 12
    if config["head"]["_target_"] == "asr.head.ctc.CtcHead":
        assert config["head"]["intermediate_layers"] == [5, 11]
        assert config["head"]["intermediate_weight"] == 0.3
    else:  # CTC beside the transducer or the attention decoder, on the same frames
        assert config["head"]["ctc_weight"] == 0.3
    assert config["features"]["specaugment"]["max_time_warp"] == 80
    if path.stem.startswith("100h"):
        assert config["train"]["trainer"]["max_epochs"] >= 100


def test_the_small_one_is_small() -> None:
    (path,) = [path for path in recipes() if path not in LARGE]
    assert size(path) < 0.8e6


def test_streaming_recipes_differ_only_in_what_streams_need() -> None:
    """From the recipe for whole files, so that the two can be compared."""
    streaming = [path for path in recipes() if path.stem.endswith("_streaming")]
    assert len(streaming) == 2
    for path in streaming:
        config = compose_recipe(path)
        whole = compose_recipe(path.with_stem(path.stem.removesuffix("_streaming")))
        model = check_model(config)
        assert model.encoder.chunks is not None
        check_streams(model)
        assert {key for key in config if config[key] != whole[key]} == {
            *("name", "features", "encoder", "metrics")
        }
        changed = {
            key for key, value in config["encoder"].items() if whole["encoder"][key] != value
        }
        assert changed == {"convolution_norm", "chunk_frames"}
        chunks = config["metrics"]["streaming"]
        for key in ("chunk_frames", "left_frames", "right_frames"):
            assert chunks[key] == config["encoder"][key]
