"""Reading and writing folders of transformers' ``ParakeetForCTC`` (FastConformer with CTC)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from asr.errors import InputError
from asr.features.nemo_mel import NemoMel, NemoNorm
from asr.files import read_bytes, replacing
from asr.interop.parakeet import Pretrained, conformer_config, to_ours, to_theirs
from asr.interop.tokenizer_json import piece_model, tokenizer_json
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage
from asr.model.weights import read_shapes, read_tensor, to_bytes
from asr.ranges import shown
from asr.text.pieces import parse_piece_model, piece_model_bytes, with_blank
from asr.text.tokenizer import MAX_MODEL_BYTES, Tokenizer

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
TOKENIZER_JSON, TOKENIZER_MODEL = "tokenizer.json", "tokenizer.model"
MODEL_TYPE, HEAD = "parakeet_ctc", "ctc_head"
MAX_JSON_BYTES = 32 << 20
MAX_SHARDS = 100

_FEATURES = {
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 512,
    "win_length": 400,
    "preemphasis": 0.97,
}
_ENCODER = {
    "hidden_act": "silu",
    "subsampling_factor": 8,
    "subsampling_conv_kernel_size": 3,
    "subsampling_conv_stride": 2,
}


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder of transformers rather than a package of ours."""
    try:
        return "model_type" in _json(path / CONFIG)
    except InputError:
        return False


def read_huggingface(folder: Path) -> tuple[Pretrained, AsrModel]:
    """Read a folder of ``ParakeetForCTC.save_pretrained`` as our model.

    Raises:
        InputError: another model, a setting that ours lacks (with its key), or damaged files.
    """
    config = _json(folder / CONFIG)
    where = str(folder / CONFIG)
    _expect(config, {"model_type": MODEL_TYPE}, where)
    encoder = config.get("encoder_config")
    if not isinstance(encoder, dict):
        raise InputError(f"{where}: encoder_config is missing")
    _expect(encoder, _ENCODER, f"{where}: encoder_config")
    num_pieces = _number(config, "vocab_size", where) - 1
    blank = config.get("pad_token_id")
    if blank != num_pieces:
        raise InputError(
            f"{where}: pad_token_id={shown(blank)}; allowed: {num_pieces}, the last of vocab_size, "
            "which is the blank"
        )
    tokenizer, kind = _read_tokenizer(folder, num_pieces)
    bins = _number(encoder, "num_mel_bins", where)
    _check_features(folder, bins)

    def number(key: str) -> int:
        return _number(encoder, key, f"{where}: encoder_config")

    source = Pretrained(
        library="huggingface",
        config=conformer_config(
            features={
                "fbank": {
                    "_target_": "asr.features.nemo_mel.NemoMel",
                    "sample_rate_hz": _FEATURES["sampling_rate"],
                    "num_mel_bins": bins,
                },
                "normalize": {"_target_": "asr.features.nemo_mel.NemoNorm"},
            },
            tokenizer=tokenizer,
            tokenizer_kind=kind,
            num_layers=number("num_hidden_layers"),
            d_model=number("hidden_size"),
            num_heads=number("num_attention_heads"),
            ffn_dim=number("intermediate_size"),
            conv_kernel_size=number("conv_kernel_size"),
            subsampling="separable8",
            subsampling_channels=number("subsampling_conv_channels"),
            dropout=encoder.get("dropout", 0.1),
        ),
        tokenizer=tokenizer,
        weights=_Shards(folder),
        head=HEAD,
        scales_input=bool(encoder.get("scale_input", True)),
        has_layer_biases=bool(encoder.get("attention_bias", True)),
        has_conv_biases=bool(encoder.get("convolution_bias", True)),
    )
    return source, to_ours(source, str(folder))


class _Shards:
    """The tensors of a folder, in one safetensors file or several."""

    def __init__(self, folder: Path) -> None:
        paths = [folder / WEIGHTS]
        if not paths[0].exists() and (folder / INDEX).exists():
            names = _json(folder / INDEX).get("weight_map")
            if not isinstance(names, dict):
                raise InputError(f"{folder / INDEX}: weight_map is missing")
            files = sorted({str(name) for name in names.values()})
            odd = [name for name in files if Path(name).name != name or name.startswith(".")]
            if odd or len(files) > MAX_SHARDS:
                raise InputError(
                    f"{folder / INDEX}: {shown(odd[0]) if odd else len(files)}; allowed: up to "
                    f"{MAX_SHARDS} files beside it"
                )
            paths = [folder / name for name in files]
        self._paths: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in paths:
            shapes = read_shapes(path)
            self.shapes |= shapes
            self._paths |= dict.fromkeys(shapes, path)

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return read_tensor(self._paths[name], name)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(path, most=MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not an object of JSON")
    return found


def _expect(config: Mapping[str, Any], expected: Mapping[str, object], where: str) -> None:
    """Raise InputError if a key is present with another value."""
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise InputError(f"{where}: {key}={shown(config[key])}; allowed: {value}")


def _number(config: Mapping[str, Any], key: str, where: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{where}: {key}={shown(value)}; allowed: a whole number")
    return value


def _check_features(folder: Path, num_mel_bins: int) -> None:
    for name in (PREPROCESSOR, PROCESSOR):
        if (folder / name).exists():
            found = _json(folder / name)
            found = found.get("feature_extractor", found)
            _expect(found, {**_FEATURES, "feature_size": num_mel_bins}, str(folder / name))


def _read_tokenizer(folder: Path, num_pieces: int) -> tuple[Tokenizer, str]:
    """Return the tokenizer of a folder, and its kind."""
    if (folder / TOKENIZER_MODEL).exists():
        path = folder / TOKENIZER_MODEL
        model = read_bytes(path, most=MAX_MODEL_BYTES)
    else:
        path = folder / TOKENIZER_JSON
        model = piece_model_bytes(piece_model(_json(path), str(path), num_pieces))
    try:
        tokenizer = with_blank(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if tokenizer.vocab_size != num_pieces + 1:
        raise InputError(
            f"{path}: {tokenizer.vocab_size - 1} pieces, vocab_size of {CONFIG} says {num_pieces} "
            "and a blank"
        )
    return tokenizer, parse_piece_model(model).kind


def write_huggingface(package: ModelPackage, folder: Path) -> None:
    """Write a package as a folder that ``ParakeetForCTC.from_pretrained`` loads.

    Raises:
        InputError: the model cannot be a Parakeet; the message names the key.
    """
    check_exportable(package)
    encoder, frontend = package.config["encoder"], package.model.frontend
    num_pieces = package.tokenizer.vocab_size - 1
    config = {
        "architectures": ["ParakeetForCTC"],
        "model_type": MODEL_TYPE,
        "vocab_size": num_pieces + 1,
        "pad_token_id": num_pieces,
        "encoder_config": {
            "model_type": "parakeet_encoder",
            "hidden_size": encoder["d_model"],
            "num_hidden_layers": encoder["num_layers"],
            "num_attention_heads": encoder["num_heads"],
            "intermediate_size": encoder["ffn_dim"],
            "conv_kernel_size": encoder["conv_kernel_size"],
            "subsampling_conv_channels": encoder["subsampling_channels"],
            "num_mel_bins": frontend.num_mel_bins,
            "dropout": encoder["dropout"],
            "layerdrop": 0.0,
            "scale_input": False,
            "attention_bias": True,
            "convolution_bias": True,
            **_ENCODER,
        },
    }
    features = {
        "feature_extractor_type": "ParakeetFeatureExtractor",
        "processor_class": "ParakeetProcessor",
        "feature_size": frontend.num_mel_bins,
        "padding_value": 0.0,
        **_FEATURES,
    }
    blank = "<pad>"
    tokenizer = {
        "tokenizer_class": "ParakeetTokenizer",
        "processor_class": "ParakeetProcessor",
        "pad_token": blank,
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,
    }
    weights = to_theirs(package.model, package.config, HEAD)
    texts = {
        CONFIG: config,
        PREPROCESSOR: features,
        "tokenizer_config.json": tokenizer,
        TOKENIZER_JSON: tokenizer_json(package.tokenizer, blank),
    }
    with replacing(folder) as partial:
        partial.mkdir()
        (partial / WEIGHTS).write_bytes(to_bytes(weights))
        for name, content in texts.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (partial / name).write_text(text + "\n", encoding="utf-8")


def check_exportable(package: ModelPackage) -> None:
    """Raise InputError if transformers has no such model."""
    model, config = package.model, package.config
    encoder = config["encoder"]
    wanted: dict[str, tuple[object, object]] = {
        "reuse": (model.encoder.reuse.name, "none"),
        "encoder._target_": (encoder["_target_"], "asr.encoder.conformer.Conformer"),
        "encoder.positions": (encoder.get("positions"), "relative"),
        "encoder.subsampling": (encoder.get("subsampling"), "separable8"),
        "head._target_": (config["head"]["_target_"], "asr.head.ctc.CtcHead"),
        "features.fbank": (type(model.frontend.fbank).__name__, NemoMel.__name__),
        "features.normalize": (type(model.frontend.normalize).__name__, NemoNorm.__name__),
    }
    fbank = model.frontend.fbank
    wanted["features.fbank.sample_rate_hz"] = (fbank.sample_rate_hz, _FEATURES["sampling_rate"])
    wanted["features.fbank.window_ms"] = (fbank.window_size, _FEATURES["win_length"])
    wanted["features.fbank.shift_ms"] = (fbank.shift_size, _FEATURES["hop_length"])
    for key, (value, allowed) in wanted.items():
        if value != allowed:
            raise InputError(
                f"{package.folder}: {key} is {shown(value)}; transformers' ParakeetForCTC has "
                f"{allowed} alone"
            )
