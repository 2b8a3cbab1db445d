"""Blocks of whole utterances against loops over frames, and the draw of a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.errors import InputError
from asr.nn.chunks import Blocks, ChunkContext, DynamicChunks, Past, hidden_frames

contexts = st.builds(ChunkContext, st.integers(1, 9), st.integers(0, 12), st.integers(0, 4))


@settings(deadline=None)
@given(context=contexts, lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_a_block_is_a_chunk_with_what_it_sees(context: ChunkContext, lengths: list[int]) -> None:
    num_frames = max(lengths)
    x_BTD = 1.0 + torch.arange(len(lengths) * num_frames * 2.0).view(len(lengths), num_frames, 2)
    blocks = Blocks(context, torch.tensor(lengths), num_frames)
    cut_EWD = blocks.cut(x_BTD)
    seen_ESD = blocks.extended(cut_EWD, context.left_frames)
    assert seen_ESD.shape == (len(lengths) * blocks.num_blocks, context.seen_frames, 2)
    assert torch.equal(blocks.joined(cut_EWD), x_BTD)
    for block in range(len(seen_ESD)):
        row, number = divmod(block, blocks.num_blocks)
        first = number * context.chunk_frames
        hidden = []
        for place in range(context.seen_frames):
            frame = first - context.left_frames + place
            is_there = 0 <= frame < num_frames
            expected = x_BTD[row, frame] if is_there else torch.zeros(2)
            assert torch.equal(seen_ESD[block, place], expected)
            hidden.append(not 0 <= frame < lengths[row])
        is_behind = all(hidden)
        assert blocks.hidden_ES[block].tolist() == ([False] * len(hidden) if is_behind else hidden)
        inside = [first + frame >= lengths[row] for frame in range(context.block_frames)]
        assert blocks.padding_mask[block].tolist() == inside


@settings(deadline=None)
@given(context=contexts, num_left=st.integers(0, 12))
def test_the_past_of_a_stream_is_what_blocks_hold(context: ChunkContext, num_left: int) -> None:
    """Two layers ask, one after the other; each gets its own frames back."""
    num_frames = 5 * context.chunk_frames + context.right_frames
    layers = [torch.randn(1, num_frames, 3), torch.randn(1, num_frames, 2)]
    blocks = Blocks(context, torch.tensor([num_frames]), num_frames)
    expected = [blocks.extended(blocks.cut(x_BTD), num_left) for x_BTD in layers]
    kept: list[Tensor] | None = None
    for number in range(5):
        seen_B = torch.tensor([number * context.chunk_frames])
        past = Past(context, seen_B, torch.tensor([context.block_frames]), kept)
        for x_BTD, expected_ESD in zip(layers, expected, strict=True):
            block_EWD = blocks.cut(x_BTD)[number : number + 1]
            assert torch.equal(past.extended(block_EWD, num_left)[0], expected_ESD[number])
        kept = past.keeps
        assert len(kept) == (2 if num_left else 0)


def test_a_block_behind_the_end_sees_something() -> None:
    hidden_ES = hidden_frames(torch.tensor([8, 40]), torch.tensor([10, 10]), ChunkContext(4, 4))
    assert hidden_ES.tolist() == [[False] * 6 + [True] * 2, [False] * 8]


def test_a_batch_draws_a_chunk_or_everything() -> None:
    chunks = DynamicChunks(chunk_frames=[4, 16], left_frames=32, right_frames=2, whole_share=0.25)
    torch.manual_seed(0)
    drawn = [chunks.draw() for _ in range(2000)]
    counts = {context: drawn.count(context) for context in set(drawn)}
    assert counts.keys() == {None, ChunkContext(4, 32, 2), ChunkContext(16, 32, 2)}
    assert 420 < counts[None] < 580
    assert 650 < counts[ChunkContext(4, 32, 2)] < 850
    torch.manual_seed(0)
    assert [chunks.draw() for _ in range(2000)] == drawn


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunk_frames": []}, "one size or more, or null"),
        ({"chunk_frames": [0]}, "a whole number from 1 to 4,096"),
        ({"chunk_frames": [4, 5000]}, "a whole number from 1 to 4,096"),
        ({"left_frames": -1}, "from 0 to 16,384"),
        ({"whole_share": 1.5}, "from 0 to 1"),
    ],
)
def test_sizes_out_of_range_are_refused(changed: dict[str, object], message: str) -> None:
    given = {"chunk_frames": [4], "left_frames": 0, "right_frames": 0, "whole_share": 0.5}
    (key,) = changed
    with pytest.raises(InputError, match=rf"encoder\.{key}=.*{message}"):
        DynamicChunks(**given | changed)  # type: ignore[arg-type]
