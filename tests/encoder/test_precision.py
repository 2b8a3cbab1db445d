"""An encoder in half precision and in 8 bits, and the choice between them."""

from __future__ import annotations

import pytest
import torch

from asr.encoder.precision import best_dtype, compute_in
from asr.encoder.streaming import encode_block, start_streams
from asr.nn.chunks import ChunkContext
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from tests.encoder.tiny import NUM_MEL_BINS, tiny_encoder

METHODS: list[ReuseMethod] = [
    NoReuse(fused=False),
    ReuseProbs(group_size=2),
    ReuseContext(group_size=2),
    ReuseHeads(group_size=2, num_reused=1),
    ReuseKeysValues(group_size=2),
    ReuseScores(group_size=2, correction="low_rank", rank=4),
]


@pytest.mark.parametrize("reuse", METHODS, ids=lambda one: one.name)
@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 0.05), ("int8", 0.1)])
@torch.inference_mode()
def test_frames_stay_close(reuse: ReuseMethod, dtype: str, most: float) -> None:
    torch.manual_seed(0)
    encoder, other = (tiny_encoder(reuse=reuse).eval() for _ in range(2))
    features_BTF, lengths_B = torch.randn(2, 90, NUM_MEL_BINS), torch.tensor([90, 61])
    compute_in(other, dtype)
    expected, found = encoder(features_BTF, lengths_B), other(features_BTF, lengths_B)
    assert torch.equal(found.lengths_B, expected.lengths_B)
    assert found.frames_BTD.dtype == other.dtype
    for row, length in enumerate(expected.lengths_B.tolist()):
        exact = expected.frames_BTD[row, :length]
        error = found.frames_BTD[row, :length].float() - exact
        assert 0 < error.norm() < most * exact.norm()


@torch.inference_mode()
def test_streams_in_8_bits() -> None:
    torch.manual_seed(0)
    encoder, other = (tiny_encoder(convolution_norm="layer").eval() for _ in range(2))
    compute_in(other, "int8")
    context = ChunkContext(4, 8, 0)
    size = (1 + context.block_frames) * encoder.subsampling_factor
    features_BTF, lengths_B = torch.randn(1, size, NUM_MEL_BINS), torch.tensor([size - 4])
    found, exact = (
        encode_block(one, features_BTF, lengths_B, start_streams(one, context))[0].frames_BTD
        for one in (other, encoder)
    )
    assert 0 < (found - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize(
    ("found", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_half_precision_where_the_processor_has_units(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], dtype: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert best_dtype("cpu") == dtype


@pytest.mark.parametrize(("major", "dtype"), [(7, "float32"), (8, "bfloat16"), (9, "bfloat16")])
def test_half_precision_where_the_gpu_has_units(
    monkeypatch: pytest.MonkeyPatch, major: int, dtype: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert best_dtype("cuda:0") == dtype
