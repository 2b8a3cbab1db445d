"""Reading a ``.nemo`` archive: a Conformer or FastConformer with CTC over subwords.

Of hybrid models (CTC beside a transducer) the CTC branch is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from asr.errors import InputError
from asr.interop.archive import Checkpoint, Member, open_tar
from asr.interop.parakeet import Pretrained, conformer_config, to_ours
from asr.model.asr_model import AsrModel
from asr.ranges import shown
from asr.text.pieces import with_blank
from asr.text.tokenizer import MAX_MODEL_BYTES

ARCHIVE_SUFFIX = ".nemo"
CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
MAX_CONFIG_BYTES = 4 << 20  # vocabularies are in it
MAX_REFERENCES = 16

_HEADS = {
    "EncDecCTCModelBPE": ("decoder.decoder_layers.0", "decoder"),
    "EncDecHybridRNNTCTCBPEModel": ("ctc_decoder.decoder_layers.0", "aux_ctc.decoder"),
}
_KINDS = {("striding", 4): "conv4", ("dw_striding", 8): "separable8"}


class _Fixed(NamedTuple):
    """A key with one supported meaning: its default, and the allowed values."""

    default: object
    allowed: Sequence[object]


_FIXED = {
    "preprocessor": {
        "window": _Fixed("hann", ["hann"]),
        "normalize": _Fixed("per_feature", ["per_feature"]),
        "frame_splicing": _Fixed(1, [1]),
        "preemph": _Fixed(0.97, [0.97]),
        "mag_power": _Fixed(2.0, [2.0]),
        "log": _Fixed(True, [True]),
        "log_zero_guard_type": _Fixed("add", ["add"]),
        "log_zero_guard_value": _Fixed(2**-24, [2**-24]),
        "exact_pad": _Fixed(False, [False]),
        "mel_norm": _Fixed("slaney", ["slaney"]),
        "n_window_size": _Fixed(None, [None]),
        "n_window_stride": _Fixed(None, [None]),
        "use_grads": _Fixed(False, [False]),
    },
    "encoder": {
        "self_attention_model": _Fixed("rel_pos", ["rel_pos"]),
        "att_context_size": _Fixed([-1, -1], [[-1, -1], None]),
        "att_context_style": _Fixed("regular", ["regular"]),
        "conv_context_size": _Fixed(None, [None]),
        "conv_norm_type": _Fixed("batch_norm", ["batch_norm", "fused_batch_norm"]),
        "causal_downsampling": _Fixed(False, [False]),
        "reduction": _Fixed(None, [None]),
        "feat_out": _Fixed(-1, [-1]),
    },
}


def read_nemo(path: Path) -> tuple[Pretrained, AsrModel]:
    """Read a ``.nemo`` archive as our model.

    Raises:
        InputError: not such an archive, not a Conformer of ours (naming the key that
            differs), or weights that do not fit its config.
    """
    with open_tar(path) as members:
        missing = [name for name in (CONFIG, WEIGHTS) if name not in members]
        if missing:
            raise InputError(f"{path}: {', '.join(missing)} missing; not a NeMo model")
        source = _Config(members[CONFIG], str(path)).pretrained(members)
        return source, to_ours(source, str(path))


class _Config:
    """The keys of ``model_config.yaml``."""

    def __init__(self, member: Member, archive: str) -> None:
        self.archive = archive
        self.where = f"{archive}, {CONFIG}"
        data = member.whole(MAX_CONFIG_BYTES, self.where)
        try:
            self.root = yaml.load(data, Loader=_Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.where}: not plain YAML ({reason})") from None

    def pretrained(self, members: Mapping[str, Member]) -> Pretrained:
        """Return the model that the config describes."""
        target = str(self.get("target", "")).rpartition(".")[2]
        if target not in _HEADS:
            raise InputError(f"{self.where}: target={shown(target)}; allowed: {', '.join(_HEADS)}")
        head, decoder = _HEADS[target]
        for section, keys in _FIXED.items():
            for key, fixed in keys.items():
                self.check(f"{section}.{key}", fixed)
        tokenizer = with_blank(self.tokenizer_model(members))
        classes = self.number(f"{decoder}.num_classes", -1)
        if classes not in (-1, tokenizer.vocab_size - 1):
            raise InputError(
                f"{self.where}: {decoder}.num_classes={classes}, the tokenizer has "
                f"{tokenizer.vocab_size - 1} pieces"
            )
        d_model = self.number("encoder.d_model")
        channels = self.number("encoder.subsampling_conv_channels", -1)
        config = conformer_config(
            features=self.features(),
            tokenizer=tokenizer,
            tokenizer_kind=self.tokenizer_kind(),
            num_layers=self.number("encoder.n_layers"),
            d_model=d_model,
            num_heads=self.number("encoder.n_heads", 4),
            ffn_dim=d_model * self.number("encoder.ff_expansion_factor", 4),
            conv_kernel_size=self.number("encoder.conv_kernel_size", 31),
            subsampling=self.subsampling(),
            subsampling_channels=d_model if channels == -1 else channels,
            dropout=self.get("encoder.dropout", 0.1),
        )
        has_bias = bool(self.get("encoder.use_bias", True))
        return Pretrained(
            library="nemo",
            config=config,
            tokenizer=tokenizer,
            weights=Checkpoint(members[WEIGHTS], f"{self.archive}, {WEIGHTS}"),
            head=head,
            scales_input=bool(self.get("encoder.xscaling", True)),
            has_layer_biases=has_bias,
            has_conv_biases=has_bias,
        )

    def features(self) -> dict[str, Any]:
        """Return the group ``features``."""
        rate_hz = self.number("preprocessor.sample_rate", 16000)
        window_s = float(self.get("preprocessor.window_size", 0.02))
        spectrum = 1 << (round(window_s * rate_hz) - 1).bit_length()
        if self.get("preprocessor.n_fft", None) not in (None, spectrum):
            raise InputError(
                f"{self.where}: preprocessor.n_fft={self.get('preprocessor.n_fft', None)!r}; "
                f"allowed: {spectrum}, the next power of two"
            )
        high_hz = self.get("preprocessor.highfreq", None)
        return {
            "fbank": {
                "_target_": "asr.features.nemo_mel.NemoMel",
                "sample_rate_hz": rate_hz,
                "num_mel_bins": self.number("preprocessor.features", 64),
                "window_ms": round(1000 * window_s, 6),
                "shift_ms": round(1000 * float(self.get("preprocessor.window_stride", 0.01)), 6),
                "dither": self.get("preprocessor.dither", 1e-5),
                "low_hz": self.get("preprocessor.lowfreq", 0),
                "high_hz": high_hz,
            },
            "normalize": {"_target_": "asr.features.nemo_mel.NemoNorm"},
        }

    def subsampling(self) -> str:
        """Return our name for the kind of subsampling."""
        kind = self.get("encoder.subsampling", "striding")
        factor = self.number("encoder.subsampling_factor", 4)
        if (kind, factor) not in _KINDS:
            raise InputError(
                f"{self.where}: encoder.subsampling={shown(kind)}, subsampling_factor={factor}; "
                "allowed: striding with 4, dw_striding with 8"
            )
        return _KINDS[kind, factor]

    def tokenizer_kind(self) -> str:
        """Return the kind of tokenizer that this model would train."""
        return "bpe"

    def tokenizer_model(self, members: Mapping[str, Member]) -> bytes:
        """Return the sentencepiece model in the archive."""
        self.check("tokenizer.type", _Fixed("bpe", ["bpe"]))
        name = str(self.get("tokenizer.model_path", "")).removeprefix("nemo:")
        if name not in members:
            raise InputError(f"{self.where}: tokenizer.model_path={shown(name)} is not in it")
        return members[name].whole(MAX_MODEL_BYTES, f"{self.archive}, {name}")

    def check(self, key: str, fixed: _Fixed) -> None:
        """Raise InputError if a key has a value that our model does not support."""
        value = self.get(key, fixed.default)
        if not any(
            abs(value - one) < 1e-9
            if isinstance(one, float) and isinstance(value, int | float)
            else type(value) is type(one) and value == one
            for one in fixed.allowed
        ):
            allowed = ", ".join("null" if one is None else str(one) for one in fixed.allowed)
            raise InputError(f"{self.where}: {key}={shown(value)}; allowed: {allowed}")

    def number(self, key: str, default: int | None = None) -> int:
        """Return a whole number."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{self.where}: {key}={shown(value)}; allowed: a whole number")
        return value

    def get(self, key: str, default: object) -> Any:
        """Return the value of a dotted key, following references such as ``${encoder.d_model}``."""
        value: Any = self._at(key, default)
        for _ in range(MAX_REFERENCES):
            if not (isinstance(value, str) and value.startswith("${") and value.endswith("}")):
                break
            value = self._at(value[2:-1].removeprefix("model."), default)
        return default if value == "???" else value

    def _at(self, key: str, default: object) -> Any:
        value: Any = self.root
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                return default
            value = value[name]
        return value


class _Loader(yaml.SafeLoader):
    """A loader of plain data without aliases, which can make a small file expand without limit."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; an alias is an error."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("an alias; NeMo writes none")
        return super().compose_node(parent, index)
