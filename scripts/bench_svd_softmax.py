"""Times SVD-softmax beside whole output layers by vocabulary, and on a trained model.

python scripts/bench_svd_softmax.py --width 512 --preview-width 64 --states 1 10
python scripts/bench_svd_softmax.py --model runs/lm --text dev.txt --preview-widths 32 64 128

The first prints, for random layers, how many times as fast SVD-softmax (Shim et al. 2017) is, with
the logarithm of the softmax, and from which vocabulary on it pays on this machine. The second takes
the output layer of a language model and hidden states of it on a text. Times are medians of rounds
in alternation on one thread.
"""

from __future__ import annotations

import argparse
from itertools import islice, product
from pathlib import Path

import torch
from torch import nn

from asr.measure.svd_softmax import (
    LayerTimes,
    agreement,
    default_sizes,
    time_layer,
    time_layers,
)
from asr.model.language_model import load_lm
from asr.nn.svd_softmax import SvdLinear, SvdSoftmax

HEADER = "hidden states | whole ms | SVD ms | times as fast | multiply-adds % |"


def cells(num_states: int, times: LayerTimes) -> str:
    low, high = times.interval or (float("nan"), float("nan"))
    return (
        f"{num_states} | {times.whole.median_ms:.2f} | {times.decomposed.median_ms:.2f} | "
        f"{times.speedup:.2f} [{low:.2f}, {high:.2f}] | {100 * times.multiply_adds:.1f} |"
    )


def by_vocabulary(args: argparse.Namespace) -> None:
    spec = SvdSoftmax(
        outputs=(), preview_width=args.preview_width, refined_words=args.refined_words
    )
    sizes = args.vocabularies or default_sizes(args.width, args.refined_words)
    print(f"width {args.width}, preview {args.preview_width}, {args.refined_words:,} words refined")
    print(f"\n| words | {HEADER}\n{'| --: ' * 6}|")
    for num_states in args.states:
        pays: int | None = None
        for times in time_layers(
            args.width, spec, num_states=num_states, sizes=sizes, num_threads=1
        ):
            pays = (pays or times.num_words) if times.speedup > 1 else None
            print(f"| {times.num_words:,} | {cells(num_states, times)}", flush=True)
        paying = "at none of these" if pays is None else f"from {pays:,} words on"
        print(f"\n{num_states} hidden states at once: faster {paying}\n")


@torch.inference_mode()
def on_a_model(args: argparse.Namespace) -> None:
    package = load_lm(args.model)
    whole = package.model.decoder.output
    assert isinstance(whole, nn.Linear), "a model without SVD-softmax"
    found, lines = [], args.text.read_text(encoding="utf-8").splitlines()
    for line in islice(lines, args.sentences):
        ids_1U = torch.tensor([package.tokenizer.encode(package.normalizer(line))])
        found.append(package.model.hidden(ids_1U, torch.tensor([ids_1U.shape[1]]))[0])
    hidden_ND = torch.cat(found)
    print(f"{whole.out_features:,} words, width {whole.in_features}, {len(hidden_ND):,} states of")
    print(f"{args.text.name}\n")
    print(f"| preview | refined | same best word % | error of its log p: mean, largest | {HEADER}")
    print("| --: " * 9 + "|")
    for width, refined in product(args.preview_widths, args.refined):
        spec = SvdSoftmax(outputs=(), preview_width=width, refined_words=refined)
        decomposed = SvdLinear.of(whole, spec)
        agreed = agreement(whole, decomposed, hidden_ND)
        for num_states in args.states:
            times = time_layer(whole, decomposed, hidden_ND[:num_states].clone(), num_threads=1)
            print(
                f"| {width} | {refined:,} | {100 * agreed.same_best:.2f} | "
                f"{agreed.best_error:.4f}, {agreed.worst_error:.3f} | {cells(num_states, times)}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--preview-width", type=int, default=64)
    parser.add_argument("--refined-words", type=int, default=2048)
    parser.add_argument("--states", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[])
    parser.add_argument("--model", type=Path, help="a language model, without SVD-softmax")
    parser.add_argument("--text", type=Path, help="a sentence a line, for --model")
    parser.add_argument("--sentences", type=int, help="of the text, the first ones; default: all")
    parser.add_argument("--preview-widths", type=int, nargs="+", default=[64])
    parser.add_argument("--refined", type=int, nargs="+", default=[2048])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.model is None:
        by_vocabulary(args)
    elif args.text is None:
        parser.error("--model needs a --text, whose hidden states are compared")
    else:
        on_a_model(args)


if __name__ == "__main__":
    main()
