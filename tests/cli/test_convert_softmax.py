"""`asr convert --svd-softmax` of recognisers and language models, and what refuses the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from asr.cli import convert_softmax
from asr.model.language_model import build_lm, load_lm, save_lm
from asr.model.package import load_package
from asr.nn.svd_softmax import SvdLinear
from asr.text.tokenizer import Tokenizer
from tests.decode.package import TEXTS, save_tiny_package, write_noise
from tests.measure.analysis.cases import write_data
from tests.model.configs import CONFIG, changed, random_waveforms

from .runs import Command

HYBRID = changed(
    "head",
    {"_target_": "asr.head.hybrid.HybridHead", "num_layers": 1, "num_heads": 2, "ffn_dim": 16},
) | {"decode": {"_target_": "asr.decode.hybrid.HybridBeam", "beam": 3}}
TRANSDUCER = changed("head", {"_target_": "asr.head.transducer.TransducerHead", "joint_dim": 8}) | {
    "decode": {"_target_": "asr.decode.transducer.TransducerGreedy"}
}
LM = {
    "text": CONFIG["text"],
    "lm": {
        "_target_": "asr.lm.transformer.TransformerLm",
        **{"num_layers": 1, "d_model": 16, "num_heads": 2, "ffn_dim": 16},
    },
}
KEYS = "preview_width=3,refined_words=4"


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which it pays from 16 words on."""
    monkeypatch.setattr(convert_softmax, "pays_from", lambda _: 16)


def save_tiny_lm(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(TEXTS, kind="char", vocab_size=30)
    model = build_lm(LM, tokenizer.vocab_size).eval()
    save_lm(folder, model=model, tokenizer=tokenizer, config=LM, card="# Random\n")
    return folder


@pytest.mark.usefixtures("pays")
def test_a_recogniser_keeps_its_decomposition_and_is_read_again(
    asr: Command, tmp_path: Path
) -> None:
    model = save_tiny_package(tmp_path / "model", HYBRID)
    data, out = write_data(tmp_path), tmp_path / "svd"
    done = asr("convert", "--model", model, "--out", out, f"--svd-softmax={KEYS}", "--data", data)
    assert done.code == 0, done.err
    assert "ctc: best word the same at" in done.out
    assert "decoder.output: best word the same at" in done.out
    config = json.loads((out / "config.json").read_text())
    outputs = ["ctc", "decoder.output"]
    assert config["svd_softmax"] == {
        **{"outputs": outputs, "preview_width": 3, "refined_words": 4},
    }
    assert config["converted_from"]["model"] == str(model)
    assert config["converted_from"]["heads_aligned_on"] is None
    head, whole = load_package(out).model.head, load_package(model).model.head
    for name in outputs:
        made = head.get_submodule(name)
        assert isinstance(made, SvdLinear)
        weight_VD = torch.cat([made.preview_VW, made.rest_VR], 1) @ made.basis_DD
        expected_VD = whole.get_submodule(name).get_parameter("weight").detach()
        torch.testing.assert_close(weight_VD, expected_VD, atol=1e-5, rtol=1e-5)
    audio = write_noise(tmp_path / "a.wav", 1.5)
    assert asr("transcribe", audio, "--model", out).code == 0


@pytest.mark.usefixtures("pays")
def test_with_the_whole_width_a_model_is_the_same(asr: Command, tmp_path: Path) -> None:
    model, out = save_tiny_package(tmp_path / "model"), tmp_path / "svd"
    words = "--svd-softmax=preview_width=16,refined_words=1"
    assert asr("convert", "--model", model, "--out", out, words).code == 0
    waveforms = random_waveforms([5000, 3000])
    with torch.no_grad():
        found, expected = (load_package(one).model(*waveforms)[0] for one in (out, model))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("pays")
def test_a_language_model_is_converted_and_searched_with(asr: Command, tmp_path: Path) -> None:
    lm, out = save_tiny_lm(tmp_path / "lm"), tmp_path / "svd"
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS) + "\n")
    exact = "--svd-softmax=preview_width=16,refined_words=1"
    done = asr("convert", "--model", lm, "--out", out, exact, "--data", text)
    assert done.code == 0, done.err
    num_states = sum(len(line) + 2 for line in TEXTS)  # a start of the first word, and an end
    assert f"decoder.output: best word the same at 100.00 % of {num_states} hidden" in done.out
    assert isinstance(load_lm(out).model.decoder.output, SvdLinear)
    assert load_lm(lm).config.get("svd_softmax") is None
    model, audio = save_tiny_package(tmp_path / "model"), write_noise(tmp_path / "a.wav", 1.5)
    found = [
        asr("transcribe", audio, "--model", model, "--beam", "4", "--lm", one, "--lm-weight", "2")
        for one in (out, lm)
    ]
    assert found[0].out == found[1].out
    assert found[0].code == 0, found[0].err


def test_a_small_vocabulary_is_refused_with_the_figure_of_this_machine(
    asr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = save_tiny_lm(tmp_path / "lm")
    words = ("convert", "--model", lm, "--out", tmp_path / "svd")
    monkeypatch.setattr(convert_softmax, "pays_from", lambda _: 8192)
    error = asr(*words, f"--svd-softmax={KEYS}").error
    assert "decoder.output has 17 words" in error
    assert "preview_width 3 and refined_words 4, for 10 hidden states at once" in error
    assert "is faster from 8,192 words on on this machine" in error
    monkeypatch.setattr(convert_softmax, "pays_from", lambda _: None)
    assert "is faster at no size on this machine" in asr(*words, f"--svd-softmax={KEYS}").error
    assert "refined_words 2,048" in asr(*words, "--svd-softmax").error
    assert not (tmp_path / "svd").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--svd-softmax=width=3"], "--svd-softmax 'width=3': allowed: KEY=VALUE, with keys"),
        (["--svd-softmax=preview_width"], "allowed: KEY=VALUE, with keys preview_width, refined"),
        (["--svd-softmax=preview_width=17,refined_words=4"], "preview_width=17: allowed: 1 to 16"),
        (["--svd-softmax=preview_width=a"], "svd_softmax.preview_width='a': allowed: a whole"),
        (["--svd-softmax=refined_words=0"], "svd_softmax.refined_words=0: allowed: a whole"),
        (
            ["reuse=probs", f"--svd-softmax={KEYS}"],
            "reuse=probs: --svd-softmax changes only output",
        ),
    ],
)
def test_keys_that_do_not_fit(
    asr: Command, tmp_path: Path, options: list[str], message: str
) -> None:
    model = save_tiny_package(tmp_path / "model")
    assert message in asr("convert", *options, "--model", model, "--out", tmp_path / "svd").error


def test_a_transducer_is_refused(asr: Command, tmp_path: Path) -> None:
    model = save_tiny_package(tmp_path / "model", TRANSDUCER)
    done = asr("convert", "--svd-softmax", "--model", model, "--out", tmp_path / "svd")
    assert "has a transducer head, which scores all words for every pair" in done.error


@pytest.mark.usefixtures("pays")
def test_what_needs_whole_output_layers_names_the_model_of_origin(
    asr: Command, tmp_path: Path
) -> None:
    model, svd = save_tiny_package(tmp_path / "model"), tmp_path / "svd"
    words = ("--model", svd, "--out")
    assert asr("convert", "--model", model, "--out", svd, f"--svd-softmax={KEYS}").code == 0
    refused = (
        f"{svd} has SVD-softmax, whose output layers are decomposed for inference; use {model}"
    )
    uses = {
        "asr convert": ("convert", "reuse=probs", *words, tmp_path / "reuse"),
        "asr convert: ": ("convert", f"--svd-softmax={KEYS}", *words, tmp_path / "again"),
        "asr export": ("export", *words, tmp_path / "a.onnx"),
    }
    for use, command in uses.items():
        assert f"{use.rstrip(': ')}: {refused}" in asr(*command).error


@pytest.mark.usefixtures("pays")
def test_a_config_of_other_layers_is_refused(asr: Command, tmp_path: Path) -> None:
    model, svd = save_tiny_package(tmp_path / "model"), tmp_path / "svd"
    assert asr("convert", "--model", model, "--out", svd, f"--svd-softmax={KEYS}").code == 0
    config = json.loads((svd / "config.json").read_text())
    for key, value, message in (
        ("outputs", ["dropout"], "svd_softmax.outputs: 'dropout'; allowed: project"),
        ("preview_width", 5, "weights do not fit config.json"),
        ("refined_words", 0, "svd_softmax.refined_words=0: allowed"),
        ("words", 3, "unknown key svd_softmax.words"),
    ):
        changes = {**config, "svd_softmax": {**config["svd_softmax"], key: value}}
        (svd / "config.json").write_text(json.dumps(changes))
        assert message in asr("transcribe", tmp_path / "a.wav", "--model", svd).error
