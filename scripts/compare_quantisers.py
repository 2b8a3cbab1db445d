"""Quantisers of an exported encoder: error of its frames, WER, size and time, in one table.

    python scripts/compare_quantisers.py --model RUN --data data/an4/test.jsonl.gz

Beside the 8-bit products of `asr export --int8`, with weights of 7 and 8 bits, it tries what comes
with ONNX Runtime: its dynamic quantiser (per tensor, per channel, per channel in 7 bits), and
weights alone in blocks, "weights 8/128" being 8 bits with a scale for 128 of them, multiplied in
float32 or with inputs in 8 bits. These change the encoder's matrix products only; `--int8` changes
its convolutions too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from asr.cli.export import read_samples
from asr.cli.options import count
from asr.interop.onnx.export import Exported
from asr.interop.onnx.graph import FEATURE_LENGTHS, FEATURES, FRAMES, nodes_between
from asr.measure.exported import FLOAT32, INT8, compare_exported, export_table
from asr.model.package import load_package
from asr.profiling.hardware import describe_hardware, source_revision

DYNAMIC = {
    "dynamic": {},
    "dynamic, per channel": {"per_channel": True},
    "dynamic, 7 bits": {"per_channel": True, "reduce_range": True},
}


def dynamic(model: onnx.ModelProto, nodes: list[str]) -> Iterator[tuple[str, bytes]]:
    """ONNX Runtime's dynamic quantiser: weights signed, inputs unsigned, scaled in each call."""
    for name, options in DYNAMIC.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = Path(folder, "in.onnx"), Path(folder, "out.onnx")
            onnx.save(model, paths[0])
            quantize_dynamic(
                *paths,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=nodes,
                weight_type=QuantType.QInt8,
                **options,
            )
            yield name, paths[1].read_bytes()


def in_blocks(model: onnx.ModelProto, nodes: list[str]) -> Iterator[tuple[str, bytes]]:
    """Weights alone, with a scale for each block."""
    for bits, block, level, inputs in (
        (8, 128, 0, "float32"), (8, 128, 4, "int8"), (8, 32, 4, "int8"), (4, 32, 4, "int8"),
    ):  # fmt: skip
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        quantiser = MatMulNBitsQuantizer(
            copied,
            bits=bits,
            block_size=block,
            is_symmetric=True,
            accuracy_level=level,
            nodes_to_include=nodes,
        )
        quantiser.process()
        content = quantiser.model.model.SerializeToString()
        yield f"weights {bits}/{block}, {inputs}", content


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="manifests")
    parser.add_argument("--lengths", type=float, nargs="+", default=[1, 5, 15], metavar="S")
    parser.add_argument("--repeats", type=count, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)

    package = load_package(args.model)
    exported = Exported(package)
    model = onnx.load_from_string(exported.float32)
    inside = nodes_between(model.graph, {FEATURES, FEATURE_LENGTHS}, [FRAMES])
    nodes = [node.name for node in inside if node.op_type in ("MatMul", "Gemm")]
    contents = {
        FLOAT32: exported.float32,
        INT8: exported.int8(7),
        f"{INT8}, 8 bits": exported.int8(8),
        **dict(dynamic(model, nodes)),
        **dict(in_blocks(model, nodes)),
    }
    # Products of blocks are an operator of ONNX Runtime's own, which files of others may not have.
    with patch("asr.interop.onnx.file.check_graph"):
        rows = compare_exported(
            package,
            contents,
            read_samples(package, args.data),
            lengths_s=args.lengths,
            repeats=args.repeats,
        )
    print(export_table(rows).text())
    print(f"# {describe_hardware('cpu', num_threads=1)}, commit {source_revision()}")


if __name__ == "__main__":
    main()
