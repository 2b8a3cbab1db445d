"""Streams encoded block by block, whole files in the same chunks, and a map with a mask agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.encoder.conformer import ConformerLayer
from asr.encoder.stack import Encoder
from asr.encoder.streaming import EncoderState, encode_block, start_streams
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.nn.convolution import Normalisation
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.reuse.none import AloneAttention, NoReuse
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features, tiny_encoder
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise

LENGTHS = [101, 5, 64]
CONTEXTS = {
    "4-8-0": ChunkContext(4, 8),
    "3-7-2": ChunkContext(3, 7, 2),
    "1-5-1": ChunkContext(1, 5, 1),
    "6-0-0": ChunkContext(6, 0),
    "50-9-3": ChunkContext(50, 9, 3),
}
CONVOLUTIONS: dict[str, tuple[bool, Normalisation]] = {
    "cut": (False, "batch"),
    "causal": (True, "batch"),
    "cut-layer": (False, "layer"),
    "causal-layer": (True, "layer"),
}
WHOLE_ONLY = ("local", "grouped", "pooled", "linear", "mixed-alone")
CHUNKED = {name: case for name, case in CASES.items() if not name.startswith(WHOLE_ONLY)}


def streamed(
    encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor, context: ChunkContext
) -> Tensor:
    """All frames (B, T, D), block by block; a stream that has ended goes on without audio."""
    state = start_streams(encoder, context, len(features_BTF))
    chunks = []
    for block_BTF, lengths in blocks(encoder, features_BTF, lengths_B, context):
        encoded, state = encode_block(encoder, block_BTF, lengths, state)
        chunks.append(encoded.frames_BTD)
    return torch.cat(chunks, 1)


def blocks(
    encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor, context: ChunkContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of each block with those before it, and how many are of the stream."""
    factor, size = encoder.subsampling_factor, context.block_frames
    num_frames = features_BTF.shape[1]
    padded_BTF = functional.pad(features_BTF, (0, 0, factor, (size + 1) * factor))
    for first in range(0, num_frames, context.chunk_frames * factor):
        yield (
            padded_BTF[:, first : first + (1 + size) * factor],
            (lengths_B - first).clamp(0, size * factor),
        )


@pairwise(
    case=CHUNKED,
    context=CONTEXTS,
    positions=POSITIONS,
    kind=KINDS,
    subsampling=("conv4", "separable8"),
    convolution=CONVOLUTIONS,
)
def test_streamed_equals_whole_equals_alone(
    case: Case,
    context: ChunkContext,
    positions: PositionKind,
    kind: EncoderKind,
    subsampling: SubsamplingKind,
    convolution: tuple[bool, Normalisation],
) -> None:
    encoder = case.encoder(
        kind,
        positions=positions,
        subsampling=subsampling,
        causal_convolution=convolution[0],
        convolution_norm=convolution[1],
    )
    features_BTF, lengths_B = random_features(LENGTHS)
    with torch.inference_mode():
        whole = encoder(features_BTF, lengths_B, (1,), context)
        stream_BTD = streamed(encoder, features_BTF, lengths_B, context)
        assert whole.frames_BTD.isfinite().all()
        for row, length in enumerate(LENGTHS):
            alone = encoder(
                features_BTF[row : row + 1, :length], lengths_B[row : row + 1], (1,), context
            )
            num_frames = int(alone.lengths_B)
            assert num_frames == whole.lengths_B[row]
            valid = slice(0, num_frames)
            for found, expected in (
                (whole.frames_BTD[row, valid], alone.frames_BTD[0]),
                (whole.intermediate[0].frames_BTD[row, valid], alone.intermediate[0].frames_BTD[0]),
                (stream_BTD[row, valid], alone.frames_BTD[0]),
            ):
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pairwise(case=CHUNKED, kind=KINDS)
def test_a_chunk_of_everything_is_no_chunk(case: Case, kind: EncoderKind) -> None:
    encoder = case.encoder(kind)
    features_BTF, lengths_B = random_features(LENGTHS)
    with torch.inference_mode():
        plain = encoder(features_BTF, lengths_B)
        chunked = encoder(features_BTF, lengths_B, (), ChunkContext(30, 4))
    for row, length in enumerate(plain.lengths_B):
        torch.testing.assert_close(
            chunked.frames_BTD[row, :length], plain.frames_BTD[row, :length], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_the_softmax_under_the_mask_of_chunks(
    positions: PositionKind, fused: bool
) -> None:
    """Frame i sees frame j where j lies in its chunk, or up to ``left`` frames before it."""
    encoder = tiny_encoder("transformer", reuse=NoReuse(fused=fused), positions=positions)
    encoder.layers = encoder.layers[:1]
    encoder.schedule = encoder.schedule[:1]
    attention = encoder.layers[0].get_submodule("attention")
    assert isinstance(attention, AloneAttention)
    features_BTF, lengths_B = random_features([83, 44])
    context = ChunkContext(4, 6)
    with torch.inference_mode():
        x_BTD, lengths, frames = encoder.prepare(features_BTF, lengths_B)
        first_T = torch.arange(x_BTD.shape[1]) // 4 * 4
        at_T = torch.arange(x_BTD.shape[1])
        seen_TT = (at_T >= first_T[:, None] - 6) & (at_T < first_T[:, None] + 4)
        scores_BHTT = attention.scores.scores(x_BTD, frames)
        assert frames.padding_mask is not None
        hidden = ~seen_TT | frames.padding_mask[:, None, None, :]
        probs_BHTT = scores_BHTT.masked_fill(hidden, -torch.inf).softmax(-1)
        expected_BTD = attention.mix(x_BTD, probs_BHTT)
        blocks = encoder.blocks(context, x_BTD, lengths)
        cut_EWD = blocks.cut(x_BTD)
        found_EWD, _ = attention(cut_EWD, encoder.frames(cut_EWD, lengths, blocks), None)
        found_BTD = blocks.joined(found_EWD)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            found_BTD[row, :length], expected_BTD[row, :length], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("context", "behind"), [(ChunkContext(4, 8), 4), (ChunkContext(3, 6, 2), 5)]
)
def test_nothing_behind_a_chunk_and_its_look_ahead_is_heard(
    context: ChunkContext, behind: int
) -> None:
    encoder = tiny_encoder("conformer")
    features_BTF, lengths_B = random_features([96])
    first = 2 * context.chunk_frames  # of the third chunk
    changed_BTF = features_BTF.clone()
    changed_BTF[:, 4 * (first + behind) :] += 1.0
    with torch.inference_mode():
        once = encoder(features_BTF, lengths_B, (), context).frames_BTD
        again = encoder(changed_BTF, lengths_B, (), context).frames_BTD
    end = first + context.chunk_frames
    assert torch.equal(once[:, :end], again[:, :end])
    assert not torch.equal(once[:, end:], again[:, end:])


@pairwise(case=CHUNKED, positions=POSITIONS)
def test_training_in_chunks_gives_the_gradients_of_the_same_steps_in_inference(
    case: Case, positions: PositionKind
) -> None:
    """Training attends by kernels of its own; a batch of unequal lengths leaves no NaN."""
    encoder = case.encoder("transformer", positions=positions)
    features_BTF, lengths_B = random_features([61, 3, 40])
    context = ChunkContext(4, 6, 1)
    with torch.inference_mode():
        expected = encoder(features_BTF, lengths_B, (), context)
    found = encoder(features_BTF, lengths_B, (), context)
    for row, length in enumerate(expected.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length], expected.frames_BTD[row, :length], atol=1e-5, rtol=1e-5
        )
    found.frames_BTD[1, :1].square().sum().backward()
    gradients = [one.grad for one in encoder.parameters() if one.grad is not None]
    assert gradients
    assert all(one.isfinite().all() for one in gradients)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(WHOLE_ONLY)])
def test_methods_that_need_everything_refuse_by_name(name: str) -> None:
    encoder = CASES[name].encoder()
    features_BTF, lengths_B = random_features([40])
    method = CASES[name].reuse.name.replace("mixed", "local")
    for use in (
        lambda: encoder(features_BTF, lengths_B, (), ChunkContext(4, 8)),
        lambda: start_streams(encoder, ChunkContext(4, 8)),
    ):
        with pytest.raises(InputError, match=f"reuse={method} attends over whole utterances"):
            use()


def kept_by_attention(case: str, context: ChunkContext) -> int:
    """Bytes that a stream keeps for attention alone."""
    return start_streams(CASES[case].encoder("transformer"), context).stream_bytes()


@pytest.mark.parametrize(
    ("case", "share"),
    [
        ("probs-all", 5 / 8),
        ("band-all", 5 / 8),
        ("top_k-all", 5 / 8),
        ("context-all", 5 / 8),
        ("kv-all", 1 / 4),
        ("probs-pairs", 3 / 4),
    ],
)
def test_a_group_keeps_what_its_roles_need(case: str, share: float) -> None:
    """Of G layers with K and V: one K and G V for maps and contexts, one K and V for keys."""
    context = ChunkContext(4, 64)
    assert kept_by_attention(case, context) == share * kept_by_attention("none-fused", context)


def test_streams_are_stacked_and_taken_apart() -> None:
    encoder = CASES["probs-pairs"].encoder()
    context = ChunkContext(4, 8)
    features_BTF, lengths_B = random_features([80, 80])
    together = start_streams(encoder, context, 2)
    alone = [start_streams(encoder, context) for _ in range(2)]
    with torch.inference_mode():
        for block_BTF, lengths in blocks(encoder, features_BTF, lengths_B, context):
            found, together = encode_block(encoder, block_BTF, lengths, together)
            stacked = EncoderState.stacked([together[0], together[1]])
            assert all(map(torch.equal, stacked.kept, together.kept))
            for row in range(2):
                rows = slice(row, row + 1)
                one, alone[row] = encode_block(encoder, block_BTF[rows], lengths[rows], alone[row])
                torch.testing.assert_close(found.frames_BTD[rows], one.frames_BTD)
    assert together.num_seen_B.tolist() == [20, 20]
    sizes = [one.shape for one in start_streams(encoder, context, 2).kept]
    assert [one.shape for one in together.kept] == sizes, "what is kept does not grow"
    with pytest.raises(ValueError, match="other chunks"):
        EncoderState.stacked([together, start_streams(encoder, ChunkContext(2, 8))])


def test_a_kernel_reaches_to_both_sides_or_back() -> None:
    encoder = tiny_encoder("conformer", num_layers=1)
    layer = encoder.layers[0]
    assert isinstance(layer, ConformerLayer)
    assert (layer.convolution.num_left, layer.convolution.num_right) == (2, 2)
    causal = tiny_encoder("conformer", num_layers=1, causal_convolution=True).layers[0]
    assert isinstance(causal, ConformerLayer)
    assert (causal.convolution.num_left, causal.convolution.num_right) == (4, 0)
