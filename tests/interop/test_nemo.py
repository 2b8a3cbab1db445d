"""Archives that NeMo itself writes, of models with random weights, give NeMo's own outputs.

NeMo is not among the extras; these tests run where `pip install 'nemo_toolkit[asr]'` was run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.cli.main import main
from asr.features.nemo_mel import NemoMel, NemoNorm
from asr.interop.nemo import read_nemo
from asr.measure.latency import difference_from_peer
from asr.model.package import load_package
from tests.pairwise import pairwise

from .foreign import padded, randomise, sentencepiece_model, waveforms

nemo_models: Any = pytest.importorskip(
    "nemo.collections.asr.models", reason="needs nemo_toolkit[asr]"
)

DECODER = "nemo.collections.asr.modules.ConvASRDecoder"
FEATURES = "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor"
ENCODER = "nemo.collections.asr.modules.ConformerEncoder"


def ctc_config(folder: Path, **encoder: object) -> Any:
    """The config of a small EncDecCTCModelBPE, in NeMo's own words."""
    from omegaconf import OmegaConf

    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    words = [pieces.id_to_piece(one) for one in range(len(pieces))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return OmegaConf.create(
        {
            "sample_rate": 16000,
            "preprocessor": {
                "_target_": FEATURES,
                "sample_rate": 16000,
                "normalize": "per_feature",
                "window_size": 0.025,
                "window_stride": 0.01,
                "window": "hann",
                "features": 80,
                "n_fft": 512,
                "dither": 0.0,
                "pad_to": 0,
            },
            "tokenizer": {"dir": str(folder), "type": "bpe"},
            "encoder": {
                "_target_": ENCODER,
                "feat_in": 80,
                "feat_out": -1,
                "n_layers": 2,
                "d_model": 32,
                "n_heads": 4,
                "ff_expansion_factor": 2,
                "conv_kernel_size": 9,
                "subsampling": "dw_striding",
                "subsampling_factor": 8,
                "subsampling_conv_channels": 8,
                "self_attention_model": "rel_pos",
                "xscaling": True,
                "untie_biases": True,
            }
            | encoder,
            "decoder": {
                "_target_": DECODER,
                "feat_in": None,
                "num_classes": -1,
                "vocabulary": [],
            },
        }
    )


def build(config: Any, kind: str = "EncDecCTCModelBPE") -> Any:
    """NeMo's model with every weight and statistic random."""
    model = getattr(nemo_models, kind)(cfg=config).eval()
    randomise(model)
    return model


def nemo_log_probs(model: Any, waves: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Log probabilities (B, T, V) with the blank brought from the last place to the first."""
    waveforms_BN, lengths_B = padded(waves)
    with torch.no_grad():
        log_probs_BTV, lengths_B, _ = model(
            input_signal=waveforms_BN, input_signal_length=lengths_B
        )
    return log_probs_BTV.roll(1, -1), lengths_B


def check_outputs(path: Path, original: Any, waves: list[NDArray[np.float32]]) -> Any:
    """Import what NeMo saved, and compare all frames, in a batch and alone."""
    original.save_to(str(path))
    source, ours = read_nemo(path)
    expected_BTV, expected_lengths_B = nemo_log_probs(original, waves)
    with torch.no_grad():
        found_BTV, lengths_B = ours(*padded(waves))
    assert lengths_B.tolist() == expected_lengths_B.tolist()
    for index, length in enumerate(lengths_B):
        expected_TV = expected_BTV[index, :length]
        assert torch.allclose(found_BTV[index, :length], expected_TV, atol=1e-4)
        with torch.no_grad():
            alone_TV = ours(*padded(waves[index : index + 1]))[0][0]
        assert torch.allclose(alone_TV, expected_TV, atol=1e-4)
    assert expected_BTV.std() > 0.1  # not all alike
    return source


@pairwise(
    subsampling=[("dw_striding", 8), ("striding", 4)],
    xscaling=[True, False],
    untie_biases=[True, False],
    use_bias=[True, False],
)
def test_log_probabilities_are_those_of_nemo(
    subsampling: tuple[str, int],
    xscaling: bool,
    untie_biases: bool,
    use_bias: bool,
    tmp_path: Path,
) -> None:
    kind, factor = subsampling
    config = ctc_config(
        tmp_path,
        subsampling=kind,
        subsampling_factor=factor,
        xscaling=xscaling,
        untie_biases=untie_biases,
        use_bias=use_bias,
    )
    original = build(config)
    source = check_outputs(tmp_path / "a.nemo", original, waveforms(20_001, 48_000, 31_999))
    text = "the of and"
    assert [one - 1 for one in source.tokenizer.encode(text)] == original.tokenizer.text_to_ids(
        text
    )


def test_a_minute_of_audio(tmp_path: Path) -> None:
    check_outputs(tmp_path / "a.nemo", build(ctc_config(tmp_path)), waveforms(960_000, 100_000))


@pytest.mark.parametrize("extra", [-1, 0, 1, 79, 80, 81, 159])
def test_features_are_those_of_nemo(extra: int, tmp_path: Path) -> None:
    original = build(ctc_config(tmp_path))
    waveforms_BN, lengths_B = padded(waveforms(16_000 + extra, 8_000))
    with torch.no_grad():
        expected_BFT, expected_lengths_B = original.preprocessor(
            input_signal=waveforms_BN, length=lengths_B
        )
    features_BTF, lengths_B = NemoMel(num_mel_bins=80).eval()(waveforms_BN, lengths_B)
    features_BTF = NemoNorm()(features_BTF, lengths_B)
    assert lengths_B.tolist() == expected_lengths_B.tolist()
    for found_TF, expected_FT, length in zip(features_BTF, expected_BFT, lengths_B, strict=True):
        assert torch.allclose(found_TF[:length], expected_FT.mT[:length], atol=1e-4)


def test_a_hybrid_gives_its_ctc_branch(tmp_path: Path) -> None:
    config = ctc_config(tmp_path)
    size = {"encoder_hidden": 32, "pred_hidden": 16}
    config.update(
        {
            "model_defaults": {"enc_hidden": 32, "pred_hidden": 16, "joint_hidden": 16},
            "decoder": {
                "_target_": "nemo.collections.asr.modules.RNNTDecoder",
                "normalization_mode": None,
                "random_state_sampling": False,
                "blank_as_pad": True,
                "vocab_size": -1,
                "prednet": {"pred_hidden": 16, "pred_rnn_layers": 1},
            },
            "joint": {
                "_target_": "nemo.collections.asr.modules.RNNTJoint",
                "num_classes": -1,
                "vocabulary": [],
                "log_softmax": None,
                "fuse_loss_wer": False,
                "jointnet": {**size, "joint_hidden": 16, "activation": "relu"},
            },
            "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
            "loss": {"loss_name": "default"},
            "aux_ctc": {
                "ctc_loss_weight": 0.3,
                "decoder": {
                    "_target_": DECODER,
                    "feat_in": 32,
                    "num_classes": -1,
                    "vocabulary": [],
                },
                "decoding": {"strategy": "greedy"},
            },
        }
    )
    original = build(config, "EncDecHybridRNNTCTCBPEModel")
    original.save_to(str(tmp_path / "a.nemo"))
    _, ours = read_nemo(tmp_path / "a.nemo")
    waves = waveforms(20_001, 31_999)
    waveforms_BN, lengths_B = padded(waves)
    with torch.no_grad():
        frames_BDT, lengths_B = original(input_signal=waveforms_BN, input_signal_length=lengths_B)
        expected_BTV = original.ctc_decoder(encoder_output=frames_BDT).roll(1, -1)
        found_BTV, _ = ours(waveforms_BN, torch.tensor([len(wave) for wave in waves]))
    for found_TV, expected_TV, length in zip(found_BTV, expected_BTV, lengths_B, strict=True):
        assert torch.allclose(found_TV[:length], expected_TV[:length], atol=1e-4)


@pytest.mark.parametrize("name", ["nemo", "nemo_fused"])
@pytest.mark.parametrize("subsampling", [("dw_striding", 8), ("striding", 4)])
def test_nemo_takes_the_weights_of_an_imported_model(
    name: str, subsampling: tuple[str, int], tmp_path: Path
) -> None:
    kind, factor = subsampling
    config = ctc_config(tmp_path, subsampling=kind, subsampling_factor=factor)
    build(config).save_to(str(tmp_path / "a.nemo"))
    words = ["import", str(tmp_path / "a.nemo"), "--out", str(tmp_path / "ours")]
    assert main(words) == 0
    assert difference_from_peer(load_package(tmp_path / "ours"), name) < 1e-4
