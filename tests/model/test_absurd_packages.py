"""Packages that state absurd sizes are refused in a line, before time or memory is spent."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from asr.errors import InputError
from asr.model.package import load_package, save_package
from asr.text.tokenizer import Tokenizer
from tests.model.configs import CONFIG, changed, tiny_model
from tests.mutations import PACKAGE_FILES, mutate_package, numbers

LONGEST_S = 10.0  # on a machine with other work
MOST_MIB = 300


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    tokenizer = Tokenizer.train(["the cat sat on the mat", "a dog"], kind="char", vocab_size=30)
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    save_package(folder, model=model, tokenizer=tokenizer, config=CONFIG, card="")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused(folder: Path, said: str | None = None) -> None:
    begun_s, before_mib = time.perf_counter(), peak_mib()
    with pytest.raises(InputError, match=said) as caught:
        load_package(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert time.perf_counter() - begun_s < LONGEST_S
    assert peak_mib() - before_mib < MOST_MIB


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_sparse_file_of_20_gb(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(20 << 30)

    refused(folder, f"{name}: ")


@pytest.mark.parametrize("name", PACKAGE_FILES)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_what_is_no_file(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)

    refused(folder, name)


def test_links_to_files_are_files(saved: Path, tmp_path: Path) -> None:
    """As the cache of a model hub has them."""
    for name in PACKAGE_FILES:
        (tmp_path / name).symlink_to(saved / name)

    assert load_package(tmp_path).model is not None


def test_too_many_tensors(folder: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"layers.{index}.weight": empty for index in range(150_000)}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    refused(folder, "its list of tensors takes")


@pytest.mark.parametrize("key", [key for key in numbers(CONFIG) if "tokenizer" not in key])
def test_a_number_that_no_weights_stand_behind(folder: Path, key: str) -> None:
    values: list[Any] = [10**6, 10**9, -1, math.nan, math.inf, "text", 10**300, [], {}, True]
    for value in values:
        write_config(folder, changed(key, value))
        refused(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder.num_layers", 1000),
        ("encoder.d_model", 16_384),
        ("encoder.ffn_dim", 65_536),
        ("encoder.subsampling_channels", 4096),
        ("encoder.conv_kernel_size", 999),
        ("features.fbank.num_mel_bins", 512),
    ],
)
def test_a_size_within_its_range_but_not_in_the_weights(folder: Path, key: str, value: int) -> None:
    write_config(folder, changed(key, value))

    refused(folder)


def test_weights_that_state_what_the_config_states_but_are_not_there(folder: Path) -> None:
    """Both say that the model is wide; no value is in the file."""
    width = 16_384
    write_config(folder, changed("encoder.ffn_dim", width))
    header = {
        name: {"dtype": "F32", "shape": [width, width], "data_offsets": [0, 4 * width**2]}
        for name in load_file(folder / "model.safetensors")
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)

    refused(folder, "not a safetensors file")


def test_weights_of_a_type_that_none_have(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["head.project.bias"] = weights["head.project.bias"].to(torch.complex64)
    save_file(weights, folder / "model.safetensors")

    refused(folder, "of a type that no weights have")


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 400 + "1" + "}" * 400,
        json.dumps(CONFIG)[:-1] + ', "number": ' + "9" * 5000 + "}",
        json.dumps(CONFIG)[:-1] + ', "deep": ' + "[" * 40 + "]" * 40 + "}",
        "\ufeff" + json.dumps(CONFIG),
    ],
    ids=["nested", "digits", "deep", "byte order mark"],
)
def test_odd_json(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")

    refused(folder, r"config\.json")


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_package_loads_or_is_refused_in_a_line(folder: Path, seed: int) -> None:
    mutate_package(folder, random.Random(seed))

    begun_s, before_mib = time.perf_counter(), peak_mib()
    try:
        load_package(folder)
    except InputError as error:
        said = str(error)
    else:
        said = str(folder)
    assert "\n" not in said
    assert str(folder) in said
    assert time.perf_counter() - begun_s < LONGEST_S
    assert peak_mib() - before_mib < MOST_MIB
