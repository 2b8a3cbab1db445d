from __future__ import annotations

import base64
import json
from pathlib import Path

import onnx
import pytest
import torch

from asr.decode.recogniser import load_recogniser
from asr.errors import InputError
from asr.interop.onnx.export import Exported
from asr.interop.onnx.file import load_onnx, parse_onnx
from asr.model.package import ModelPackage
from tests.decode.package import noise, read_frames
from tests.model.configs import random_waveforms


def test_a_file_is_the_model_it_came_from(package: ModelPackage, saved: Path) -> None:
    loaded = load_onnx(saved)
    assert loaded.config == package.config
    assert loaded.tokenizer.to_bytes() == package.tokenizer.to_bytes()
    assert loaded.normalizer("The CAT, sat.") == "the cat sat"
    assert loaded.model.subsampling_factor == package.model.subsampling_factor
    waveforms = random_waveforms([5000, 3000])
    with torch.inference_mode():
        expected_BTV, expected_B = package.model(*waveforms)
    found_BTV, found_B = loaded.model(*waveforms)
    assert torch.equal(found_B, expected_B)
    torch.testing.assert_close(found_BTV[0], expected_BTV[0], rtol=1e-3, atol=1e-3)


def test_a_batch_may_be_padded_beyond_its_longest_utterance(saved: Path) -> None:
    model = load_onnx(saved).model
    waveforms_BN, lengths_B = random_waveforms([5000, 3000])
    expected_BTV, expected_B = model(waveforms_BN, lengths_B)
    found_BTV, found_B = model(torch.nn.functional.pad(waveforms_BN, (0, 900)), lengths_B)
    assert torch.equal(found_B, expected_B)
    length = int(expected_B[0])
    torch.testing.assert_close(found_BTV[0, :length], expected_BTV[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk_s", [2.0, 10.0, 30.0])
def test_audio_in_chunks(package: ModelPackage, saved: Path, chunk_s: float) -> None:
    expected, found = (
        read_frames(one, noise(9.3), chunk_s=chunk_s, overlap_s=0.5)
        for one in (package, load_recogniser(saved))
    )
    torch.testing.assert_close(found.scores_T, expected.scores_T, rtol=1e-3, atol=1e-3)


def test_who_decodes_elsewhere_finds_the_tokens(package: ModelPackage, exported: Exported) -> None:
    model = onnx.load_from_string(exported.float32)
    stored = {one.key: one.value for one in model.metadata_props}
    tokenizer = package.tokenizer
    pieces = json.loads(stored["encore.pieces"])
    assert pieces == tokenizer.pieces(range(tokenizer.vocab_size))
    assert base64.b64decode(stored["encore.tokenizer"]) == tokenizer.to_bytes()
    assert "8000 Hz" in model.doc_string


def changed(content: bytes, key: str, value: str | None) -> bytes:
    """The file with something else stored, or nothing."""
    model = onnx.load_from_string(content)
    kept = {one.key: one.value for one in model.metadata_props if one.key != key}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept if value is None else {**kept, key: value})
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", None, "not a file of `asr export`"),
        ("format", "2", "encore.format is '2'; '1' can be read"),
        ("config", "{", "encore.config: not a JSON config"),
        ("config", "[]", "encore.config: lacks features"),
        ("config", None, "not a JSON config"),
        ("tokenizer", "!", "encore.tokenizer: "),
        ("tokenizer", "", "not a tokenizer: empty"),
        (
            "subsampling_factor",
            "0",
            "encore.subsampling_factor is '0'; allowed: 1, 2, 4, 8, 16, 32, 64",
        ),
        ("subsampling_factor", "four", "encore.subsampling_factor is 'four'"),
    ],
)
def test_what_is_stored_is_checked(
    exported: Exported, key: str, value: str | None, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_onnx(changed(exported.float32, f"encore.{key}", value), where="bad.onnx")
    assert "bad.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_classes_of_the_toolkit_are_built(package: ModelPackage, exported: Exported) -> None:
    for group, section in (("features", "fbank"), ("text", "normalize")):
        config = json.loads(json.dumps(package.config))
        config[group][section] = {"_target_": "os.system", "command": "true"}
        with pytest.raises(InputError, match=r"os\.system: only classes inside asr"):
            parse_onnx(
                changed(exported.float32, "encore.config", json.dumps(config)), where="bad.onnx"
            )


@pytest.mark.parametrize("content", [b"", b"no graph in here\n" * 10, bytes(range(256))])
def test_no_graph(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"bad.onnx: ") as caught:
        load_onnx(tmp_path / "bad.onnx")
    assert "\n" not in str(caught.value)


def test_half_a_file(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model\.onnx"):
        load_onnx(saved)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.onnx: cannot be read"):
        load_recogniser(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("bits", "vnni", "machine", "warned"),
    [
        (8, False, "x86_64", True),
        (8, False, "AMD64", True),
        (8, False, "aarch64", False),
        (8, True, "x86_64", False),
        (7, False, "x86_64", False),
    ],
)
def test_weights_whose_products_overflow_here(
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bits: int,
    vnni: bool,
    machine: str,
    warned: bool,
) -> None:
    monkeypatch.setattr("asr.interop.onnx.file.has_vnni", lambda: vnni)
    monkeypatch.setattr("platform.machine", lambda: machine)
    parse_onnx(exported.int8(bits), where="a.onnx")
    assert ("a.onnx: its weights have 8 bits, and products" in caplog.text) is warned


def test_a_graph_of_another_kind(exported: Exported) -> None:
    model = onnx.load_from_string(exported.float32)
    del model.graph.output[0]
    with pytest.raises(InputError, match="its graph must take waveforms, waveform_lengths and"):
        parse_onnx(model.SerializeToString(), where="bad.onnx")


def test_a_file_runs_on_the_cpu(saved: Path) -> None:
    with pytest.raises(InputError, match="runs in ONNX Runtime on the CPU; --device cuda"):
        load_recogniser(saved, "cuda")


def test_without_the_extra(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"needs onnxruntime, onnx; install it by: pip install 'encore-"
    ):
        load_recogniser(saved)
