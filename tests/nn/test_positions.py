"""What every position encoding promises: attending is the softmax of its scores times values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asr.nn import positions as tiling
from asr.nn.attention import softmax_over_keys
from asr.nn.frames import padding_mask
from asr.nn.positions import Keys, Positions, key_mask, row_tiles, visible
from asr.nn.relative import RelativePositions, RelativeQueries
from asr.nn.rotary import RotaryPositions
from tests.encoder.tiny import randomise
from tests.pairwise import pairwise

H, K = 2, 4


def relative() -> Positions:
    return RelativePositions(d_model=H * K, num_heads=H, head_dim=K)


# Who asks, and who made the keys: the same layer, or with "of another" two.
MAKERS: dict[str, tuple[Callable[[], Positions], Callable[[], Positions] | None]] = {
    "none": (Positions, None),
    "rotary": (RotaryPositions, None),
    "relative": (relative, None),
    "none of another": (Positions, Positions),
    "rotary of another": (RotaryPositions, RotaryPositions),
    "relative of another": (lambda: RelativeQueries(num_heads=H, head_dim=K), relative),
}
LENGTHS = [[1], [7], [7, 7], [7, 1, 4], [2, 1]]

each_encoding = pytest.mark.parametrize("name", list(MAKERS))


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 3)


def make(name: str) -> tuple[Positions, Positions]:
    """The encoding on the side of the queries, and on that of the keys."""
    make_asking, make_asked = MAKERS[name]
    asking = make_asking()
    randomise(asking)
    if make_asked is None:
        return asking, asking
    asked = make_asked()
    randomise(asked, seed=1)
    return asking, asked


def inputs(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    shape = (len(lengths), H, max(lengths), K)
    q_BHTK, k_BHTK, v_BHTK = (torch.randn(shape) for _ in range(3))
    return q_BHTK, k_BHTK, v_BHTK, padding_mask(torch.tensor(lengths), max(lengths))


def keys_of(asked: Positions, k_BHTK: Tensor) -> Keys:
    return asked.keys(k_BHTK, asked.table(k_BHTK.shape[2], H * K, H, k_BHTK))


def explicit(asking: Positions, q: Tensor, keys: Keys, v: Tensor, mask: Tensor | None) -> Tensor:
    return softmax_over_keys(asking.scores(q, keys), mask) @ v


@pairwise(name=list(MAKERS), lengths=LENGTHS, grad=[True, False])
def test_attend_is_softmax_of_scores_times_values(
    name: str, lengths: list[int], grad: bool
) -> None:
    (asking, asked), (q, k, v, mask) = make(name), inputs(lengths)

    with torch.set_grad_enabled(grad):
        keys = keys_of(asked, k)
        context_BHTK = asking.attend(q, keys, v, mask, 0.0)
        expected_BHTK = explicit(asking, q, keys, v, mask)

    torch.testing.assert_close(context_BHTK, expected_BHTK, atol=1e-5, rtol=1e-5)


@pairwise(name=list(MAKERS), lengths=LENGTHS, grad=[True, False])
def test_tiles_of_scores_are_the_scores_cut_into_rows(
    name: str, lengths: list[int], grad: bool
) -> None:
    (asking, asked), (q, k, _, _) = make(name), inputs(lengths)

    with torch.set_grad_enabled(grad):
        keys = keys_of(asked, k)
        tiles = [tile.clone() for tile in asking.score_tiles(q, keys)]
        scores_BHTT = asking.scores(q, keys)

    assert [tile.shape[2] for tile in tiles] == [
        min(3, max(lengths) - start) for start in range(0, max(lengths), 3)
    ]
    torch.testing.assert_close(torch.cat(tiles, 2), scores_BHTT, atol=1e-5, rtol=1e-5)


@each_encoding
def test_a_tile_can_be_overwritten_before_the_next(name: str) -> None:
    (asking, asked), (q, k, _, _) = make(name), inputs([7, 4])

    with torch.no_grad():
        keys = keys_of(asked, k)
        expected = [tile.clone() for tile in asking.score_tiles(q, keys)]
        found = []
        for tile in asking.score_tiles(q, keys):
            found.append(tile.clone())
            tile.fill_(float("nan"))

    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pairwise(name=list(MAKERS), lengths=LENGTHS)
def test_gradients_of_attend_equal_those_of_the_explicit_path(
    name: str, lengths: list[int]
) -> None:
    (asking, asked), (q, k, v, mask) = make(name), inputs(lengths)
    weight = torch.randn(q.shape)
    parameters = list({id(p): p for m in (asking, asked) for p in m.parameters()}.values())
    if asking is not asked:  # the biases of the keys' own layer take no part
        own = {id(p) for n, p in asked.named_parameters() if "bias" in n}
        parameters = [parameter for parameter in parameters if id(parameter) not in own]

    gradients = []
    for fused in (True, False):
        leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        q_leaf, k_leaf, v_leaf = leaves
        keys = keys_of(asked, k_leaf)
        if fused:
            context = asking.attend(q_leaf, keys, v_leaf, mask, 0.0)
        else:
            context = explicit(asking, q_leaf, keys, v_leaf, mask)
        gradients.append(torch.autograd.grad((context * weight).sum(), [*leaves, *parameters]))

    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert float(gradients[0][2].abs().sum()) > 0


@each_encoding
def test_padding_is_never_attended_to(name: str) -> None:
    (asking, asked), (q, k, v, mask) = make(name), inputs([7, 4])
    once = asking.attend(q, keys_of(asked, k), v, mask, 0.0)
    k, v = k.clone(), v.clone()
    k[1, :, 4:], v[1, :, 4:] = 1e4, 1e4

    assert torch.equal(asking.attend(q, keys_of(asked, k), v, mask, 0.0), once)


@each_encoding
def test_queries_keys_and_values_are_left_as_they_were(name: str) -> None:
    (asking, asked), (q, k, v, mask) = make(name), inputs([7, 4])

    with torch.no_grad():
        keys = keys_of(asked, k)
        kept = [tensor for tensor in (q, k, v, *keys) if tensor is not None]
        before = [tensor.clone() for tensor in kept]
        asking.attend(q, keys, v, mask, 0.0)
        softmax_over_keys(asking.scores(q, keys), mask)
        for tile in asking.score_tiles(q, keys):
            softmax_over_keys(tile, mask)

    for tensor, copy in zip(kept, before, strict=True):
        assert torch.equal(tensor, copy)


@each_encoding
def test_dropout_falls_on_the_map(name: str) -> None:
    """With values of one, a context is the share of a row that dropout left, scaled back up."""
    torch.manual_seed(0)
    (asking, asked), (q, k, v, _) = make(name), inputs([7, 7])
    v = torch.ones_like(v)

    with torch.no_grad():
        keys = keys_of(asked, k)
        kept = torch.cat([asking.attend(q, keys, v, None, 0.5).flatten() for _ in range(50)])

    assert kept.std() > 0.1
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)


def test_scores_without_positions_are_scaled_products() -> None:
    q, k, _, _ = inputs([5, 5])

    torch.testing.assert_close(
        Positions().scores(q, Keys(k)), torch.einsum("bhik,bhjk->bhij", q, k) / K**0.5
    )
    assert Positions.table(5, H * K, H, q) is None


def test_key_mask_allows_what_is_not_padding() -> None:
    allowed = key_mask(torch.tensor([[False, True]]))

    assert allowed is not None
    assert allowed.tolist() == [[[[True, False]]]]
    assert key_mask(None) is None


@pairwise(reach=[None, 1, 4], num_frames=[1, 2, 3, 4, 7, 12])
def test_tiles_cover_every_row_once_and_all_that_it_can_see(
    num_frames: int, reach: int | None
) -> None:
    covered = []
    for rows, seen in row_tiles(num_frames, reach):
        covered += list(range(rows.start, rows.stop))
        far = num_frames if reach is None else reach
        near = {j for i in range(rows.start, rows.stop) for j in range(i - far, i + far + 1)}
        assert list(range(seen.start, seen.stop)) == sorted(near & set(range(num_frames)))

    assert covered == list(range(num_frames))


@pairwise(reach=[None, 1, 3], lengths=[[5, 5], [5, 1]])
def test_visible_says_frame_by_frame_what_may_be_attended_to(
    lengths: list[int], reach: int | None
) -> None:
    mask = padding_mask(torch.tensor(lengths), 5)
    rows, seen = slice(2, 5), slice(1, 5)

    allowed = visible(rows, seen, mask, reach, torch.device("cpu"))

    if allowed is None:
        assert (mask, reach) == (None, None)
        return
    found = allowed.expand(2, 1, 3, 4)
    for row, length in enumerate(lengths):
        for i in range(2, 5):
            for j in range(1, 5):
                near = reach is None or abs(i - j) <= reach
                may = near and (j < length or (i == j and reach is not None))
                assert bool(found[row, 0, i - 2, j - 1]) == may


@pairwise(name=list(MAKERS), lengths=LENGTHS, reach=[1, 2, 9])
def test_attending_within_reach_is_a_softmax_of_the_scores_in_sight(
    name: str, lengths: list[int], reach: int
) -> None:
    """With only that part of the table that is said to matter; no row is left without a number."""
    (asking, asked), (q, k, v, mask) = make(name), inputs(lengths)
    table = asked.table(k.shape[2], H * K, H, k)
    everywhere = slice(0, k.shape[2])
    allowed = visible(everywhere, everywhere, mask, reach, k.device)
    assert allowed is not None

    near = asked.keys(k, asked.table_near(table, reach))
    context_BHTK = asking.attend(q, near, v, mask, 0.0, reach=reach)

    scores_BHTT = asking.scores(q, asked.keys(k, table)).masked_fill(~allowed, float("-inf"))
    torch.testing.assert_close(context_BHTK, scores_BHTT.softmax(-1) @ v, atol=1e-5, rtol=1e-5)
    assert context_BHTK.isfinite().all()
