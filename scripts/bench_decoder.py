"""Times a step of the attention decoder with three kinds of cross-attention, and what each keeps.

python scripts/bench_decoder.py --batches 1 8 --beams 1 10 --lengths-s 5 30

`copied` keeps keys and values of the frames for every hypothesis of a beam, `heads` for every
utterance, `el` keeps the frames alone (EL-attention, Yan et al. 2021). They are timed in
alternation; a figure is the median over rounds of the mean time of a step. Weights are random.
`--groups 2 4`, `--attention hard` and `--feedback` change the decoder.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from statistics import median

import torch

from asr.head.decoder import AttentionDecoder
from asr.head.decoder_layer import Memory

FRAMES_PER_S = 25
KINDS = ("copied", "heads", "el")


@torch.inference_mode()
def step_ms(decoder: AttentionDecoder, memory: Memory, num_rows: int, num_steps: int) -> float:
    """Mean time of a step of ``num_rows`` hypotheses, keys and values of earlier tokens kept."""
    ids_N1 = torch.zeros(num_rows, 1, dtype=torch.int64)
    caches = None
    start = time.perf_counter()
    for _ in range(num_steps):
        logits_N1V, caches = decoder(ids_N1, memory, caches)
        ids_N1 = logits_N1V.argmax(-1)
    return (time.perf_counter() - start) * 1000 / num_steps


@torch.inference_mode()
def memories(
    decoder: AttentionDecoder, batch: int, beam: int, num_frames: int
) -> dict[str, Memory]:
    frames_BTD = torch.randn(batch, num_frames, decoder.embedding.embedding_dim)
    lengths_B = torch.full((batch,), num_frames)
    copied = frames_BTD.repeat_interleave(beam, 0), lengths_B.repeat_interleave(beam)
    return {
        "copied": decoder.memory(*copied),
        "heads": decoder.memory(frames_BTD, lengths_B),
        "el": decoder.memory(frames_BTD, lengths_B, by_frames=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--lengths-s", type=float, nargs="+", default=[5.0, 30.0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn-dim", type=int, default=2048)
    parser.add_argument("--vocab-size", type=int, default=500)
    parser.add_argument("--groups", type=int, nargs="+", default=[])
    parser.add_argument("--attention", choices=["soft", "hard"], default="soft")
    parser.add_argument("--feedback", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    decoder = AttentionDecoder(
        d_model=args.width,
        vocab_size=args.vocab_size,
        num_layers=args.layers,
        num_heads=args.heads,
        ffn_dim=args.ffn_dim,
        dropout=0.0,
        groups=args.groups,
        kind=args.attention,
        feedback=args.feedback,
    ).eval()
    print(f"{args.layers} layers of width {args.width}, {args.heads} heads, ffn {args.ffn_dim};")
    print(f"{torch.get_num_threads()} threads, float32, median of {args.rounds} rounds", end="")
    print(f" of {args.steps} steps\n")
    print("| batch | beam | audio s | " + " | ".join(f"{kind} ms" for kind in KINDS), end=" | ")
    print("copied / el | heads / el | " + " | ".join(f"{kind} MiB" for kind in KINDS) + " |")
    print("| --: " * 11 + "|")
    for batch, beam, length_s in product(args.batches, args.beams, args.lengths_s):
        kept = memories(decoder, batch, beam, round(length_s * FRAMES_PER_S))
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for round_number in range(args.rounds + 1):
            for kind, memory in kept.items():
                taken_ms = step_ms(decoder, memory, batch * beam, args.steps)
                if round_number:
                    times[kind].append(taken_ms)
        ms = {kind: median(taken) for kind, taken in times.items()}
        cells = [f"{batch}", f"{beam}", f"{length_s:g}", *(f"{ms[kind]:.2f}" for kind in KINDS)]
        cells += [f"{ms[kind] / ms['el']:.2f}" for kind in KINDS[:2]]
        cells += [f"{kept[kind].num_bytes / 2**20:.2f}" for kind in KINDS]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
