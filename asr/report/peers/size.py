"""What an encoder of another library must have in common with ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from asr.types import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSize:
    """Dimensions of a Conformer, named as in the config group ``encoder``.

    ``dropout`` is everywhere that a library has it; none of them drops a whole layer.
    """

    num_mel_bins: int
    num_layers: int
    d_model: int
    num_heads: int
    ffn_dim: int
    conv_kernel_size: int
    subsampling: str
    subsampling_channels: int
    dropout: float

    @classmethod
    def from_config(cls, encoder: Mapping[str, Any], num_mel_bins: int) -> Self:
        """From the config group ``encoder``; raises InputError where that is no Conformer."""
        names = [field.name for field in fields(cls) if field.name != "num_mel_bins"]
        for name in names:
            if name not in encoder:
                raise InputError(
                    f"--against: the encoder of this recipe has no encoder.{name}; "
                    "other libraries' encoders are Conformers, encoder=conformer_* is allowed"
                )
        return cls(num_mel_bins=num_mel_bins, **{name: encoder[name] for name in names})
