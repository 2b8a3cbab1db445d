"""Training steps of our Conformer-M against those of torchaudio's, in one alternating process.

    python scripts/bench_training_peer.py

Both stand behind the same convolutional subsampling and under the same CTC head: forward, backward
and AdamW on random batches, in fp32 on one CPU thread, with dropout 0.1. torchaudio's Conformer has
no positions: ours without any is its like, the others carry more. A ratio below 1 means ours is
faster: the median over rounds of ours / torchaudio's.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection

import torch
from torch import Tensor
from torchaudio.models import Conformer as TorchaudioConformer

from asr.encoder.conformer import Conformer
from asr.encoder.stack import Encoder
from asr.metrics.latency import measure, ratio
from asr.metrics.memory import peak_memory_mib
from asr.metrics.training_step import training_step
from asr.nn.positions import PositionKind
from asr.report.hardware import describe_hardware
from asr.report.provenance import installed_versions, source_revision
from asr.report.training_steps import CtcModel
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.types import EncoderOutput

D_MODEL, NUM_HEADS, FFN_DIM, KERNEL, DROPOUT = 256, 4, 1024, 31, 0.1
FRAME_SHIFT_MS = 10.0
OURS: dict[str, tuple[ReuseMethod, PositionKind]] = {
    "none, no positions": (NoReuse(), "none"),
    "none, relative": (NoReuse(), "relative"),
    "none explicit, relative": (NoReuse(fused=False), "relative"),
    "probs, relative": (ReuseProbs(group_size=4), "relative"),
    "context, relative": (ReuseContext(group_size=4), "relative"),
}


def our_encoder(reuse: ReuseMethod, positions: PositionKind, num_layers: int) -> Conformer:
    return Conformer(
        reuse=reuse,
        num_mel_bins=80,
        num_layers=num_layers,
        d_model=D_MODEL,
        num_heads=NUM_HEADS,
        ffn_dim=FFN_DIM,
        conv_kernel_size=KERNEL,
        positions=positions,
        subsampling="conv4",
        subsampling_channels=D_MODEL,
        dropout=DROPOUT,
    )


class TorchaudioEncoder(Encoder):
    """torchaudio's layers in the place of ours."""

    def __init__(self, num_layers: int) -> None:
        super().__init__(
            reuse=NoReuse(),
            make_layer=lambda attention: torch.nn.Identity(),
            num_mel_bins=80,
            num_layers=num_layers,
            d_model=D_MODEL,
            num_heads=NUM_HEADS,
            positions="none",
            subsampling="conv4",
            subsampling_channels=D_MODEL,
            dropout=DROPOUT,
            final_norm=False,
            max_map_mib=None,
        )
        self.theirs = TorchaudioConformer(
            input_dim=D_MODEL,
            num_heads=NUM_HEADS,
            ffn_dim=FFN_DIM,
            num_layers=num_layers,
            depthwise_conv_kernel_size=KERNEL,
            dropout=DROPOUT,
        )

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        intermediate_layers: Collection[int] = (),
    ) -> EncoderOutput:
        x_BTD, lengths_B, _ = self.prepare(features_BTF, lengths_B)
        return EncoderOutput(self.theirs(x_BTD, lengths_B)[0], lengths_B, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--length", type=float, default=15.0, metavar="S")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    encoders: dict[str, Encoder] = {"torchaudio": TorchaudioEncoder(args.layers)}
    for name, (reuse, positions) in OURS.items():
        encoders[name] = our_encoder(reuse, positions, args.layers)
    steps = {}
    for name, encoder in encoders.items():
        model = CtcModel(encoder)
        steps[name] = training_step(
            model, model.batch_loss(args.length, args.batch, FRAME_SHIFT_MS)
        )
    timings = measure(steps, repeats=args.repeats, warmup=1, num_threads=1)
    print(f"{args.batch} x {args.length:g} s, {args.layers} layers\n")
    print("| encoder | step s | steps per s | / torchaudio | peak MiB |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for name, step in steps.items():
        peak_mib = peak_memory_mib(step, warmup=0)
        step_s = timings[name].median_ms / 1000
        print(
            f"| {name} | {step_s:.2f} | {1 / step_s:.3f} "
            f"| {ratio(timings[name], timings['torchaudio']):.2f} "
            f"| {'-' if peak_mib is None else f'{peak_mib:.0f}'} |",
            flush=True,
        )
    described = ", ".join(f"{name} {one}" for name, one in installed_versions().items())
    print(f"\n{describe_hardware(num_threads=1)}; {described}; commit {source_revision()}")


if __name__ == "__main__":
    main()
