"""NeMo's Conformer and FastConformer, with its own subsampling and relative positions.

Shape legend: B batch, T frames, F mel bins, D model width.
"""

from __future__ import annotations

from nemo.collections.asr.modules import ConformerEncoder
from torch import Tensor

from asr.errors import InputError
from asr.measure.peers.peer import Config, Peer, PeerSize, load_encoder
from asr.model.asr_model import AsrModel
from asr.types import EncoderOutput

_SUBSAMPLING = {"conv4": ("striding", 4), "separable8": ("dw_striding", 8)}


class NemoConformer(Peer):
    """NeMo's encoder; ``fused`` uses torch's attention kernel, which NeMo does not by default."""

    def __init__(self, size: PeerSize, *, fused: bool) -> None:
        super().__init__(size)
        if size.ffn_dim % size.d_model:
            raise InputError(
                f"--against nemo: encoder.ffn_dim={size.ffn_dim}; "
                f"whole multiples of encoder.d_model={size.d_model} are allowed"
            )
        kind, factor = _SUBSAMPLING[size.subsampling]
        self.encoder = ConformerEncoder(
            feat_in=size.num_mel_bins,
            n_layers=size.num_layers,
            d_model=size.d_model,
            n_heads=size.num_heads,
            ff_expansion_factor=size.ffn_dim // size.d_model,
            conv_kernel_size=size.conv_kernel_size,
            subsampling=kind,
            subsampling_factor=factor,
            subsampling_conv_channels=size.subsampling_channels,
            use_pytorch_sdpa=fused,
            dropout=size.dropout,
            dropout_pre_encoder=size.dropout,
            dropout_emb=size.dropout,
            dropout_att=size.dropout,
        )

    def take_weights(self, model: AsrModel, config: Config) -> None:
        """See `Peer.take_weights`; only a model without reuse has all weights."""
        load_encoder(self.encoder, model, config, "nemo")
        self.encoder.pos_enc.xscale = None  # already folded into the weights

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> EncoderOutput:
        """Return (B, T / factor, D) for (B, T, F)."""
        features_BFT = features_BTF.to(self.dtype).transpose(1, 2)
        frames_BDT, lengths_B = self.encoder(audio_signal=features_BFT, length=lengths_B)
        return EncoderOutput(frames_BDT.transpose(1, 2), lengths_B)
