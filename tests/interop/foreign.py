"""Random models of transformers and archives as NeMo writes them."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import yaml
from torch import Tensor, nn

NUM_PIECES = 40
WIDTH, NUM_LAYERS, CHANNELS = 32, 2, 8
WORDS = "the of and to in a is that for it with as was on be at by this had not are but from"


@cache
def sentencepiece_model(kind: str = "bpe") -> bytes:
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS.split(), k=8)) for _ in range(500)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type=kind,
        vocab_size=NUM_PIECES,
        hard_vocab_limit=False,
        minloglevel=2,
        bos_id=-1,
        eos_id=-1,
    )
    return model.getvalue()


def randomise(model: nn.Module) -> None:
    """Weights, biases of positions and statistics of BatchNorm, none of them as initialised."""
    generator = torch.Generator().manual_seed(1)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = "norm" in name and name.endswith("weight")
            parameter.copy_(noise(parameter) * (0.15 if parameter.dim() > 1 else 0.3) + scale)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * noise(buffer))
            if name.endswith("running_var"):
                buffer.copy_(noise(buffer).square() + 0.5)


def waveforms(*num_samples: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Noise whose loudness rises and falls."""
    draw = np.random.default_rng(0)
    return [
        (0.2 * np.sin(np.arange(n) / 3000) ** 2 * draw.standard_normal(n)).astype(np.float32)
        for n in num_samples
    ]


def padded(waves: list[np.ndarray[Any, np.dtype[np.float32]]]) -> tuple[Tensor, Tensor]:
    lengths_B = torch.tensor([len(wave) for wave in waves])
    waveforms_BN = torch.zeros(len(waves), int(lengths_B.max()))
    for row, wave in zip(waveforms_BN, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return waveforms_BN, lengths_B


def parakeet(
    *, scale_input: bool, attention_bias: bool, convolution_bias: bool, num_mel_bins: int = 80
) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.ParakeetCTCConfig(
        vocab_size=NUM_PIECES + 1,
        pad_token_id=NUM_PIECES,
        encoder_config={
            "hidden_size": WIDTH,
            "num_hidden_layers": NUM_LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 2 * WIDTH,
            "attention_bias": attention_bias,
            "convolution_bias": convolution_bias,
            "scale_input": scale_input,
            "num_mel_bins": num_mel_bins,
            "subsampling_conv_channels": CHANNELS,
        },
    )
    model = transformers.ParakeetForCTC(config).eval()
    randomise(model)
    return model


def save_parakeet(folder: Path, model: Any, tokenizer: bytes | None = None) -> Path:
    """What ``save_pretrained`` leaves, with the tokenizer as NeMo's file."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    model.save_pretrained(folder)
    bins = model.config.encoder_config.num_mel_bins
    transformers.ParakeetFeatureExtractor(feature_size=bins).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(tokenizer or sentencepiece_model())
    return folder


NEMO_CONFIG: dict[str, Any] = {
    "target": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
    "sample_rate": 16000,
    "preprocessor": {
        "sample_rate": "${sample_rate}",
        "normalize": "per_feature",
        "window_size": 0.025,
        "window_stride": 0.01,
        "window": "hann",
        "features": 80,
        "n_fft": 512,
        "frame_splicing": 1,
        "dither": 1e-05,
        "pad_to": 0,
    },
    "encoder": {
        "feat_in": "${preprocessor.features}",
        "feat_out": -1,
        "n_layers": NUM_LAYERS,
        "d_model": WIDTH,
        "n_heads": 4,
        "ff_expansion_factor": 2,
        "conv_kernel_size": 9,
        "conv_norm_type": "batch_norm",
        "subsampling": "dw_striding",
        "subsampling_factor": 8,
        "subsampling_conv_channels": CHANNELS,
        "self_attention_model": "rel_pos",
        "att_context_size": [-1, -1],
        "xscaling": True,
        "untie_biases": True,
        "use_bias": True,
        "dropout": 0.1,
    },
    "tokenizer": {"type": "bpe", "model_path": "nemo:0123_tokenizer.model", "dir": None},
    "decoder": {"num_classes": NUM_PIECES},
}

_NEMO_NAMES = {
    "subsampling.linear": "pre_encode.out",
    "subsampling.layers": "pre_encode.conv",
    "self_attn.relative_k_proj": "self_attn.linear_pos",
    "self_attn.q_proj": "self_attn.linear_q",
    "self_attn.k_proj": "self_attn.linear_k",
    "self_attn.v_proj": "self_attn.linear_v",
    "self_attn.o_proj": "self_attn.linear_out",
    "self_attn.bias_u": "self_attn.pos_bias_u",
    "self_attn.bias_v": "self_attn.pos_bias_v",
    "conv.norm": "conv.batch_norm",
    "ctc_head": "decoder.decoder_layers.0",
}


def nemo_weights(model: Any) -> OrderedDict[str, Tensor]:
    """The weights of a Parakeet by the names of NeMo, which the two libraries share."""
    found: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in model.state_dict().items():
        renamed = name
        for theirs, nemo in _NEMO_NAMES.items():
            renamed = renamed.replace(theirs, nemo)
        found[renamed] = tensor
    found["preprocessor.featurizer.window"] = torch.hann_window(400, periodic=False)
    return found


def changed_config(**changes: object) -> dict[str, Any]:
    """`NEMO_CONFIG` with dotted keys changed; ``__`` stands for the dot."""
    config: dict[str, Any] = json.loads(json.dumps(NEMO_CONFIG))
    for key, value in changes.items():
        *path, leaf = key.split("__")
        section = config
        for name in path:
            section = section.setdefault(name, {})
        section[leaf] = value
    return config


def checkpoint_bytes(weights: object) -> bytes:
    file = io.BytesIO()
    torch.save(weights, file)
    return file.getvalue()


def write_nemo(
    path: Path,
    weights: object,
    config: object = NEMO_CONFIG,
    *,
    mode: str = "w",
    extra: tuple[tarfile.TarInfo, ...] = (),
) -> Path:
    """An archive as NeMo leaves it; bytes are taken as they are."""
    text = config if isinstance(config, bytes) else yaml.safe_dump(config).encode()
    data = weights if isinstance(weights, bytes) else checkpoint_bytes(weights)
    members = {
        "./model_config.yaml": text,
        "./model_weights.ckpt": data,
        "./0123_tokenizer.model": sentencepiece_model(),
    }
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in extra:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5
            tar.addfile(info, io.BytesIO(content))
    return path
