"""Our Conformer-M against the encoders that other libraries install, in one alternating process.

    python scripts/bench_peers.py

All stand behind the same convolutional subsampling, in fp32 on one CPU thread, batch 1, without
reuse; ours has the position encoding of the peer it is paired with (torchaudio's has none). A ratio
below 1 means ours is faster: the median over rounds of ours / peer. transformers is a peer where it
is installed (`pip install transformers`).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torchaudio.models import Conformer as TorchaudioConformer

from asr.encoder.conformer import Conformer
from asr.metrics.latency import measure, ratio
from asr.nn.positions import PositionKind
from asr.nn.subsampling import ConvSubsampling
from asr.report.hardware import describe_hardware
from asr.report.provenance import installed_versions, source_revision
from asr.reuse.none import NoReuse

NUM_MEL_BINS, D_MODEL, NUM_HEADS, NUM_LAYERS, FFN_DIM, KERNEL = 80, 256, 4, 16, 1024, 31
ROUNDS_WARMUP = 2


@dataclass(frozen=True)
class Peer:
    """Another library's encoder, with the positions that it has."""

    library: str
    positions: PositionKind
    encoder: nn.Module


class Subsampled(nn.Module):
    """A peer's layers behind our subsampling."""

    def __init__(self, layers: nn.Module, run: Callable[[nn.Module, Tensor, Tensor], Tensor]):
        super().__init__()
        self.subsampling = ConvSubsampling(
            kind="conv4", num_mel_bins=NUM_MEL_BINS, channels=D_MODEL, d_model=D_MODEL
        )
        self.layers = layers
        self.run = run

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        return self.run(self.layers, *self.subsampling(features_BTF, lengths_B))


def torchaudio_peer() -> Peer:
    layers = TorchaudioConformer(
        input_dim=D_MODEL,
        num_heads=NUM_HEADS,
        ffn_dim=FFN_DIM,
        num_layers=NUM_LAYERS,
        depthwise_conv_kernel_size=KERNEL,
    )

    def run(layers: nn.Module, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        frames: Tensor = layers(x_BTD, lengths_B)[0]
        return frames

    return Peer("torchaudio", "none", Subsampled(layers, run))


def transformers_peer(positions: PositionKind) -> Peer:
    from transformers.models.wav2vec2_conformer import (
        configuration_wav2vec2_conformer,
        modeling_wav2vec2_conformer,
    )

    config = configuration_wav2vec2_conformer.Wav2Vec2ConformerConfig(
        hidden_size=D_MODEL,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=NUM_HEADS,
        intermediate_size=FFN_DIM,
        conv_depthwise_kernel_size=KERNEL,
        position_embeddings_type=positions,
        hidden_act="swish",
    )

    def run(layers: nn.Module, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        frames: Tensor = layers(x_BTD).last_hidden_state
        return frames

    layers = modeling_wav2vec2_conformer.Wav2Vec2ConformerEncoder(config)
    return Peer("transformers", positions, Subsampled(layers, run))


def peers() -> list[Peer]:
    """Those that are installed."""
    found = [torchaudio_peer()]
    if importlib.util.find_spec("transformers"):
        found += [transformers_peer("rotary"), transformers_peer("relative")]
    else:
        print("transformers is not installed: left out", file=sys.stderr)
    return found


def our_encoder(positions: PositionKind) -> Conformer:
    return Conformer(
        reuse=NoReuse(fused=True),
        num_mel_bins=NUM_MEL_BINS,
        num_layers=NUM_LAYERS,
        d_model=D_MODEL,
        num_heads=NUM_HEADS,
        ffn_dim=FFN_DIM,
        conv_kernel_size=KERNEL,
        positions=positions,
        subsampling="conv4",
        subsampling_channels=D_MODEL,
        dropout=0.1,
    )


def call(encoder: nn.Module, features_BTF: Tensor) -> Callable[[], object]:
    lengths_B = torch.tensor([features_BTF.shape[1]])

    def forward() -> object:
        with torch.inference_mode():
            return encoder(features_BTF, lengths_B)

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=float, nargs="+", default=[5, 15, 60], metavar="S")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    print("| seconds | peer | positions | its ms | ours ms | ours / peer |")
    print("| ---: | :--- | :--- | ---: | ---: | ---: |")
    for length_s in args.lengths:
        features_BTF = torch.randn(1, round(length_s * 100), NUM_MEL_BINS)
        for peer in peers():
            pair = {"theirs": peer.encoder.eval(), "ours": our_encoder(peer.positions).eval()}
            timings = measure(
                {name: call(encoder, features_BTF) for name, encoder in pair.items()},
                repeats=args.repeats,
                warmup=ROUNDS_WARMUP,
                num_threads=1,
            )
            theirs, ours = timings["theirs"], timings["ours"]
            print(
                f"| {length_s:g} | {peer.library} | {peer.positions} | {theirs.median_ms:.0f} "
                f"| {ours.median_ms:.0f} | {ratio(ours, theirs):.2f} |",
                flush=True,
            )
    versions = {library: version(library) for library in {peer.library for peer in peers()}}
    described = ", ".join(
        f"{name} {one}" for name, one in (installed_versions() | versions).items()
    )
    print(f"\n{describe_hardware(num_threads=1)}; {described}; commit {source_revision()}")


if __name__ == "__main__":
    main()
