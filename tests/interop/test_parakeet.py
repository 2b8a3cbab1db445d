"""Imported models give the outputs of the library that they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.cli.main import main
from asr.errors import InputError
from asr.features.nemo_mel import NemoMel, NemoNorm
from asr.interop.huggingface import read_huggingface
from asr.interop.nemo import read_nemo
from asr.model.package import load_package
from tests.pairwise import pairwise

from .foreign import (
    changed_config,
    nemo_weights,
    padded,
    parakeet,
    save_parakeet,
    sentencepiece_model,
    waveforms,
    write_nemo,
)

transformers: Any = pytest.importorskip("transformers", reason="needs transformers")


def original_log_probs(model: Any, waves: list[np.ndarray[Any, np.dtype[np.float32]]]) -> Tensor:
    """With the blank brought from the last place to the first."""
    bins = model.config.encoder_config.num_mel_bins
    extractor = transformers.ParakeetFeatureExtractor(feature_size=bins)
    features = extractor(waves, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        log_probs: Tensor = model(**features).logits.log_softmax(-1).roll(1, -1)
    return log_probs


def check_outputs(ours: Any, original: Any, waves: Any) -> None:
    expected_BTV = original_log_probs(original, waves)
    with torch.no_grad():
        found_BTV, lengths_B = ours(*padded(waves))
        alone_1TV, _ = ours(*padded(waves[:1]))
    for found_TV, expected_TV, length in zip(found_BTV, expected_BTV, lengths_B, strict=True):
        assert torch.allclose(found_TV[:length], expected_TV[:length], atol=1e-4)
    assert torch.allclose(alone_1TV[0], expected_BTV[0, : alone_1TV.shape[1]], atol=1e-4)
    assert expected_BTV.std() > 0.1  # not all alike


@pytest.mark.parametrize("num_mel_bins", [80, 128])
@pytest.mark.parametrize("extra", [0, 1, 159])
def test_features_are_those_of_the_original(num_mel_bins: int, extra: int) -> None:
    waves = waveforms(16000 + extra, 8000, 481)
    extractor = transformers.ParakeetFeatureExtractor(feature_size=num_mel_bins)
    expected = extractor(waves, sampling_rate=16000, return_tensors="pt")
    fbank = NemoMel(num_mel_bins=num_mel_bins).eval()
    features_BTF, lengths_B = fbank(*padded(waves))
    features_BTF = NemoNorm()(features_BTF, lengths_B)
    assert lengths_B.tolist() == expected["attention_mask"].sum(1).tolist()
    num_frames = features_BTF.shape[1]
    assert torch.allclose(features_BTF, expected["input_features"][:, :num_frames], atol=1e-4)


@pairwise(
    scale_input=[True, False],
    attention_bias=[True, False],
    convolution_bias=[True, False],
    num_mel_bins=[80, 128],
)
def test_log_probabilities_are_those_of_the_original(
    scale_input: bool,
    attention_bias: bool,
    convolution_bias: bool,
    num_mel_bins: int,
    tmp_path: Path,
) -> None:
    original = parakeet(
        scale_input=scale_input,
        attention_bias=attention_bias,
        convolution_bias=convolution_bias,
        num_mel_bins=num_mel_bins,
    )
    source, ours = read_huggingface(save_parakeet(tmp_path, original))
    assert source.config["encoder"]["num_layers"] == 2
    check_outputs(ours, original, waveforms(20_001, 48_000, 31_999))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("has_biases", [True, False])
def test_nemo_archives(has_biases: bool, mode: str, tmp_path: Path) -> None:
    original = parakeet(
        scale_input=not has_biases, attention_bias=has_biases, convolution_bias=has_biases
    )
    config = changed_config(encoder__use_bias=has_biases, encoder__xscaling=not has_biases)
    path = write_nemo(tmp_path / "a.nemo", nemo_weights(original), config, mode=mode)
    source, ours = read_nemo(path)
    check_outputs(ours, original, waveforms(20_001, 48_000))
    assert source.tokenizer.decode(source.tokenizer.encode("the of and")) == "the of and"


def test_a_hybrid_gives_its_ctc_branch(tmp_path: Path) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    weights = {
        name.replace("decoder.", "ctc_decoder.") if name.startswith("decoder.") else name: tensor
        for name, tensor in nemo_weights(original).items()
    }
    weights["joint.enc.weight"] = torch.zeros(3, 3)
    config = changed_config(target="x.EncDecHybridRNNTCTCBPEModel", aux_ctc__decoder={})
    _, ours = read_nemo(write_nemo(tmp_path / "a.nemo", weights, config))
    check_outputs(ours, original, waveforms(20_001))


def test_one_bias_of_positions_for_all_layers(tmp_path: Path) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    weights = nemo_weights(original)
    for name in ("pos_bias_u", "pos_bias_v"):
        shared = weights[f"encoder.layers.0.self_attn.{name}"]
        weights[f"encoder.{name}"] = shared
        for layer in original.encoder.layers:
            getattr(layer.self_attn, name.removeprefix("pos_")).data.copy_(shared)
        weights.pop(f"encoder.layers.1.self_attn.{name}")
    config = changed_config(encoder__untie_biases=False)
    _, ours = read_nemo(write_nemo(tmp_path / "a.nemo", weights, config))
    check_outputs(ours, original, waveforms(20_001))


def test_a_model_goes_to_transformers_and_comes_back(tmp_path: Path) -> None:
    original = parakeet(scale_input=True, attention_bias=False, convolution_bias=True)
    folder = save_parakeet(tmp_path / "hf", original, sentencepiece_model("unigram"))
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    exported = ["--model", str(tmp_path / "ours"), "--out", str(tmp_path / "back")]
    assert main(["export", *exported, "--format", "huggingface"]) == 0
    again = transformers.ParakeetForCTC.from_pretrained(tmp_path / "back").eval()
    waves = waveforms(20_001, 30_000)
    expected, found = original_log_probs(original, waves), original_log_probs(again, waves)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_tokenizers_encode_alike_on_both_sides(kind: str, tmp_path: Path) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    folder = save_parakeet(tmp_path / "hf", original, sentencepiece_model(kind))
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    exported = ["--model", str(tmp_path / "ours"), "--out", str(tmp_path / "back")]
    assert main(["export", *exported, "--format", "huggingface"]) == 0
    ours = load_package(tmp_path / "ours").tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert main(["import", str(tmp_path / "back"), "--out", str(tmp_path / "again")]) == 0
    again = load_package(tmp_path / "again").tokenizer
    for text in ("the of and", "with thethat  is", "but from a zebra", "\uff34he \uff4ff"):
        ids = ours.encode(text)
        assert again.encode(text) == ids
        assert [one + 1 for one in theirs.encode(text, add_special_tokens=False)] == ids
        if ours.unk_id not in ids:
            text_of_theirs = theirs.decode([one - 1 for one in ids], group_tokens=False)
            assert text_of_theirs == ours.decode(ids)


def test_an_imported_model_takes_a_schedule(tmp_path: Path) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    folder = save_parakeet(tmp_path / "hf", original)
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    words = ["reuse=context", "reuse.group_size=2", "--model", str(tmp_path / "ours")]
    assert main(["convert", *words, "--out", str(tmp_path / "shared")]) == 0
    package = load_package(tmp_path / "shared")
    assert package.config["imported_from"]["library"] == "transformers"
    assert "converted_from" in package.config
    assert package.model.encoder.schedule[1].leader == 0


def test_what_transformers_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    folder = save_parakeet(tmp_path / "hf", original)
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    words = ["reuse=probs", "reuse.group_size=2", "--model", str(tmp_path / "ours")]
    assert main(["convert", *words, "--out", str(tmp_path / "shared")]) == 0
    exported = ["--model", str(tmp_path / "shared"), "--out", str(tmp_path / "back")]
    assert main(["export", *exported, "--format", "huggingface"]) == 2
    assert (
        "reuse is 'probs'; transformers' ParakeetForCTC has none alone" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("config.json", "model_type", "wav2vec2", "model_type='wav2vec2'; allowed: parakeet_ctc"),
        ("config.json", "pad_token_id", 3, "pad_token_id=3; allowed: 40"),
        ("config.json", "encoder_config.hidden_act", "relu", "hidden_act='relu'; allowed: silu"),
        ("config.json", "encoder_config.hidden_size", "x", "hidden_size='x'; allowed: a whole"),
        ("config.json", "encoder_config.num_hidden_layers", 3, "layers.2.norm_feed_forward1"),
        ("config.json", "encoder_config.intermediate_size", 48, "has shape [64, 32], the config"),
        ("preprocessor_config.json", "hop_length", 128, "hop_length=128; allowed: 160"),
    ],
)
def test_a_setting_that_ours_lacks_is_named(
    file: str, key: str, value: object, message: str, tmp_path: Path
) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    folder = save_parakeet(tmp_path, original)
    content = json.loads((folder / file).read_text())
    *path, leaf = key.split(".")
    section = content
    for name in path:
        section = section[name]
    section[leaf] = value
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_huggingface(folder)
    assert message in str(error.value)


def test_the_same_weights_are_timed_in_both_libraries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = parakeet(scale_input=True, attention_bias=True, convolution_bias=True)
    folder = save_parakeet(tmp_path / "hf", original)
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    bench = ["bench", "--model", str(tmp_path / "ours"), "--against", "parakeet"]
    assert main([*bench, "encoder.num_layers=3"]) == 2
    assert "with --model only reuse and metrics may be overridden" in capsys.readouterr().err
    rows = tmp_path / "rows.json"
    small = ["metrics=latency", "metrics.latency.lengths_s=[1]", "metrics.latency.repeats=2"]
    assert main([*bench, "reuse=none,probs_pairs", *small, "--json", str(rows)]) == 0
    said = capsys.readouterr()
    assert re.search(r"parakeet with the same weights: frames differ by \d\.\de-0[67]", said.err)
    none, probs = json.loads(rows.read_text())
    assert none["reuse"] == "none"
    assert probs["num_params"] < none["num_params"]
