"""Our Conformer-M without reuse against torchaudio's Conformer, in one alternating process.

    python scripts/bench_torchaudio.py

Both stand behind the same convolutional subsampling, in fp32 on one CPU thread, batch 1.
torchaudio's Conformer has no position encoding; ours is timed with none, rotary and relative
positions. A ratio below 1 means ours is faster: the median over rounds of ours / torchaudio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

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
POSITIONS: tuple[PositionKind, ...] = ("none", "rotary", "relative")


class TorchaudioEncoder(nn.Module):
    """torchaudio's Conformer of Conformer-M size behind our subsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.subsampling = ConvSubsampling(
            kind="conv4", num_mel_bins=NUM_MEL_BINS, channels=D_MODEL, d_model=D_MODEL
        )
        self.conformer = TorchaudioConformer(
            input_dim=D_MODEL,
            num_heads=NUM_HEADS,
            ffn_dim=FFN_DIM,
            num_layers=NUM_LAYERS,
            depthwise_conv_kernel_size=KERNEL,
        )

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        frames: Tensor = self.conformer(*self.subsampling(features_BTF, lengths_B))[0]
        return frames


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
    parser.add_argument("--lengths", type=float, nargs="+", default=[15, 60], metavar="S")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    encoders: dict[str, nn.Module] = {"torchaudio": TorchaudioEncoder().eval()}
    encoders |= {positions: our_encoder(positions).eval() for positions in POSITIONS}
    print("| seconds | torchaudio ms | positions | ours ms | ours / torchaudio |")
    print("| ---: | ---: | :--- | ---: | ---: |")
    for length_s in args.lengths:
        features_BTF = torch.randn(1, round(length_s * 100), NUM_MEL_BINS)
        timings = measure(
            {name: call(encoder, features_BTF) for name, encoder in encoders.items()},
            repeats=args.repeats,
            warmup=2,
            num_threads=1,
        )
        theirs = timings["torchaudio"]
        for positions in POSITIONS:
            ours = timings[positions]
            print(
                f"| {length_s:g} | {theirs.median_ms:.0f} | {positions} | {ours.median_ms:.0f} "
                f"| {ratio(ours, theirs):.2f} |"
            )
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    print(f"\n{describe_hardware(num_threads=1)}; {versions}; commit {source_revision()}")


if __name__ == "__main__":
    main()
