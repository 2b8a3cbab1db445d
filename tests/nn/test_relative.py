"""Relative positions against the formula of Transformer-XL as a double loop over frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.nn import positions as tiling
from asr.nn import relative
from asr.nn.positions import Keys, training_tiles
from asr.nn.relative import (
    WAVELENGTH_BASE,
    KeptDistances,
    RelativePositions,
    RelativeQueries,
    attend_at_once,
)
from asr.nn.tiles import Operands, distances
from tests.encoder.tiny import randomise

B, H, K = 2, 2, 4
D = H * K


def make() -> RelativePositions:
    module = RelativePositions(d_model=D, num_heads=H, head_dim=K)
    randomise(module)
    return module


def table(num_frames: int) -> Tensor:
    made = RelativePositions.table(num_frames, D, H, torch.zeros(1))
    assert made is not None
    return made


def queries_and_keys(num_frames: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q_BHTK, k_BHTK = torch.randn(2, B, H, num_frames, K, generator=generator)
    return q_BHTK, k_BHTK


def sinusoid(distance: int) -> Tensor:
    """Encoding of one distance (D,), written from its definition."""
    values = []
    for channel in range(0, D, 2):
        angle = distance / WAVELENGTH_BASE ** (channel / D)
        values += [math.sin(angle), math.cos(angle)]
    return torch.tensor(values)


def double_loop(module: RelativePositions, q_BHTK: Tensor, k_BHTK: Tensor) -> Tensor:
    num_frames = q_BHTK.shape[2]
    scores_BHTT = torch.empty(B, H, num_frames, num_frames)
    for head in range(H):
        u_K, v_K = module.content_bias_HK[head], module.position_bias_HK[head]
        for i in range(num_frames):
            for j in range(num_frames):
                r_K = module.position(sinusoid(i - j))[head * K : (head + 1) * K]
                content_B = ((q_BHTK[:, head, i] + u_K) * k_BHTK[:, head, j]).sum(-1)
                position_B = (q_BHTK[:, head, i] + v_K) @ r_K
                scores_BHTT[:, head, i, j] = (content_B + position_B) / K**0.5
    return scores_BHTT


def test_table_holds_the_distances_from_far_future_to_far_past() -> None:
    table_PD = table(5)

    assert table_PD.shape == (9, D)
    for row, distance in enumerate(range(4, -5, -1)):
        torch.testing.assert_close(table_PD[row], sinusoid(distance), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tile_rows", [1, 3, 128])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 7])
@pytest.mark.parametrize("grad", [True, False])
def test_scores_equal_the_double_loop(
    monkeypatch: pytest.MonkeyPatch, tile_rows: int, num_frames: int, grad: bool
) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", tile_rows)
    module, (q_BHTK, k_BHTK) = make(), queries_and_keys(num_frames)

    with torch.set_grad_enabled(grad):
        scores_BHTT = module.scores(q_BHTK, module.keys(k_BHTK, table(num_frames)))

    torch.testing.assert_close(
        scores_BHTT, double_loop(module, q_BHTK, k_BHTK), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("num_frames", [127, 128, 129, 300])
def test_tiled_scores_equal_untiled(num_frames: int) -> None:
    module, (q_BHTK, k_BHTK) = make(), queries_and_keys(num_frames)
    untiled_BHTT = module.scores(q_BHTK, module.keys(k_BHTK, table(num_frames)))

    with torch.no_grad():
        tiled_BHTT = module.scores(q_BHTK, module.keys(k_BHTK, table(num_frames)))

    torch.testing.assert_close(tiled_BHTT, untiled_BHTT, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7, 9])
def test_tiled_attention_equals_untiled(monkeypatch: pytest.MonkeyPatch, num_frames: int) -> None:
    module, (q_BHTK, k_BHTK) = make(), queries_and_keys(num_frames)
    v_BHTK = torch.randn(B, H, num_frames, K)
    arguments = (q_BHTK, module.keys(k_BHTK, table(num_frames)), v_BHTK, None, 0.0)
    untiled_BHTK = module.attend(*arguments)

    monkeypatch.setattr(tiling, "TILE_ROWS", 3)

    torch.testing.assert_close(module.attend(*arguments), untiled_BHTK)


@pytest.mark.parametrize("num_frames", [7, 8, 9, 20])
@pytest.mark.parametrize("heads_at_once", [0, 1, H])
def test_long_tiles_of_some_heads(
    monkeypatch: pytest.MonkeyPatch, num_frames: int, heads_at_once: int
) -> None:
    module, (q_BHTK, k_BHTK) = make(), queries_and_keys(num_frames)
    keys, v_BHTK = module.keys(k_BHTK, table(num_frames)), torch.randn(B, H, num_frames, K)
    padding_mask = torch.arange(num_frames) >= torch.tensor([[num_frames], [4]])
    arguments = (q_BHTK, keys, v_BHTK, padding_mask, 0.0)
    biases: list[torch.Size] = []

    def fused(*operands: Tensor, attn_mask: Tensor, **options: Any) -> Tensor:
        biases.append(attn_mask.shape)
        context: Tensor = attention(*operands, attn_mask=attn_mask, **options)
        return context

    with torch.inference_mode():
        expected_BHTK = module.attend(*arguments)
        monkeypatch.setattr(relative, "LONG_FRAMES", 7)
        monkeypatch.setattr(relative, "LONG_TILE_ROWS", 4)
        monkeypatch.setattr(relative, "BIAS_ENTRIES", heads_at_once * B * 4 * (4 + num_frames))
        attention: Any = functional.scaled_dot_product_attention
        monkeypatch.setattr(functional, "scaled_dot_product_attention", fused)
        found_BHTK = module.attend(*arguments)

    torch.testing.assert_close(found_BHTK, expected_BHTK)
    assert found_BHTK.transpose(1, 2).is_contiguous()
    assert biases[0] == (B, max(1, heads_at_once), 4, num_frames)
    assert len(biases) == -(-H // max(1, heads_at_once)) * -(-num_frames // 4)


@pytest.mark.parametrize("num_frames", [1, 7])
def test_queries_meet_the_keys_of_another_layer(num_frames: int) -> None:
    """Own biases u and v, the projected distances of whoever made the keys."""
    asked, asking = make(), RelativeQueries(num_heads=H, head_dim=K)
    randomise(asking, seed=5)
    q_BHTK, k_BHTK = queries_and_keys(num_frames)
    keys = asked.keys(k_BHTK, table(num_frames))
    both = make()
    both.load_state_dict(asked.state_dict() | asking.state_dict())

    assert {name for name, _ in asking.named_parameters()} == {
        "content_bias_HK",
        "position_bias_HK",
    }
    torch.testing.assert_close(
        asking.scores(q_BHTK, keys), double_loop(both, q_BHTK, k_BHTK), atol=1e-5, rtol=1e-5
    )


def test_keys_carry_the_projected_distances() -> None:
    module, (_, k_BHTK) = make(), queries_and_keys(5)

    keys = module.keys(k_BHTK, table(5))

    assert keys.k_BHTK is k_BHTK
    assert keys.positions is not None
    assert keys.positions.shape == (H, K, 9)
    for column, distance in enumerate(range(4, -5, -1)):
        projected_HK = module.position(sinusoid(distance)).view(H, K)
        torch.testing.assert_close(keys.positions[..., column], projected_HK, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reach", [None, 1, 2, 5])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7, 12])
def test_a_tile_finds_every_distance_it_sees(
    monkeypatch: pytest.MonkeyPatch, num_frames: int, reach: int | None
) -> None:
    """In the middle of the full table, or of what of it is near enough."""
    monkeypatch.setattr(tiling, "TILE_ROWS", 3)
    table_PD = torch.arange(num_frames - 1.0, -num_frames, -1).unsqueeze(1)
    if reach is not None:
        near_PD = RelativePositions.table_near(table_PD, reach)
        assert near_PD is not None
        assert len(near_PD) == min(len(table_PD), 2 * (reach + 2) + 1)
        table_PD = near_PD

    for rows, seen in tiling.row_tiles(num_frames, reach):
        columns = distances(rows, seen, table_PD.T)
        expected = range(rows.stop - 1 - seen.start, rows.start - seen.stop, -1)
        assert table_PD[columns, 0].tolist() == list(expected)


def test_gradients_equal_those_of_the_double_loop() -> None:
    module, (q_BHTK, k_BHTK) = make(), queries_and_keys(4)
    weight_BHTT = torch.randn(B, H, 4, 4)
    names = ["q", "k", *(name for name, _ in module.named_parameters())]
    gradients = []
    for way in ("tiled", "loop"):
        q_leaf, k_leaf = q_BHTK.clone().requires_grad_(), k_BHTK.clone().requires_grad_()
        if way == "tiled":
            scores_BHTT = module.scores(q_leaf, module.keys(k_leaf, table(4)))
        else:
            scores_BHTT = double_loop(module, q_leaf, k_leaf)
        loss = (scores_BHTT * weight_BHTT).sum()
        gradients.append(torch.autograd.grad(loss, [q_leaf, k_leaf, *module.parameters()]))

    for name, ours, theirs in zip(names, *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5, msg=name)


class Projection:
    """Table (P, D) to (1, D, P); counts its calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, table_PD: Tensor) -> Tensor:
        self.num_calls += 1
        return 2 * table_PD.T.unsqueeze(0)


def distance_table(furthest: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(furthest, -furthest - 1, -1, dtype=dtype).unsqueeze(1)


def middle(r_HKP: Tensor, furthest: int) -> list[float]:
    centre = r_HKP.shape[-1] // 2
    return r_HKP[0, 0, centre - furthest : centre + furthest + 1].tolist()


@torch.inference_mode()
def test_fewer_distances_are_there_already_and_more_are_not() -> None:
    kept, project = KeptDistances(), Projection()
    for furthest, num_calls in ((3, 1), (3, 1), (1, 1), (5, 2), (4, 2)):
        found = middle(kept(distance_table(furthest), project), furthest)
        assert found == [2.0 * distance for distance in range(furthest, -furthest - 1, -1)]
        assert project.num_calls == num_calls


@torch.inference_mode()
def test_long_tables_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative, "KEPT_DISTANCES_MIB", 7 * 4 / 2**20)
    kept, project = KeptDistances(), Projection()
    for furthest, num_calls in ((3, 1), (4, 2), (4, 3), (3, 3)):
        kept(distance_table(furthest), project)
        assert project.num_calls == num_calls


def test_other_precision_and_gradients_are_projected_anew() -> None:
    kept, project = KeptDistances(), Projection()
    with torch.no_grad():
        kept(distance_table(3), project)
        assert kept(distance_table(3, torch.float64), project).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            kept(distance_table(2, torch.float64), project)
    assert project.num_calls == 3
    weight = torch.ones((), requires_grad=True)
    assert kept(
        distance_table(2, torch.float64), lambda table_PD: weight * project(table_PD)
    ).requires_grad


def context_and_gradients(
    attend: Callable[..., Tensor], device: str = "cpu"
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Attention of two utterances, one padded, and the gradients of a sum of its outputs."""
    torch.manual_seed(0)
    module, num_frames = make().to(device), 7
    leaves = [torch.randn(B, H, num_frames, K).to(device).requires_grad_() for _ in range(3)]
    weight_BHTK = torch.randn(B, H, num_frames, K).to(device)
    q_BHTK, k_BHTK, v_BHTK = leaves
    keys = module.keys(k_BHTK, table(num_frames).to(device))
    padding_mask = torch.arange(num_frames) >= torch.tensor([[num_frames], [4]])
    context_BHTK = attend(module, q_BHTK, keys, v_BHTK, padding_mask.to(device))
    loss = (context_BHTK * weight_BHTK).sum()
    return context_BHTK, torch.autograd.grad(loss, [*leaves, *module.parameters()])


def by_module(module: RelativePositions, q: Tensor, keys: Keys, v: Tensor, mask: Tensor) -> Tensor:
    return module.attend(q, keys, v, mask, 0.0)


def at_once(module: RelativePositions, q: Tensor, keys: Keys, v: Tensor, mask: Tensor) -> Tensor:
    return attend_at_once(module.terms(q, keys), v, mask, 0.0)


def test_one_bias_for_all_rows_has_the_gradients_of_tiles() -> None:
    torch.testing.assert_close(context_and_gradients(at_once), context_and_gradients(by_module))


@pytest.mark.gpu
def test_training_on_cuda_has_the_gradients_of_a_cpu() -> None:
    context, gradients = context_and_gradients(by_module, "cuda")
    found = (context.cpu(), tuple(gradient.cpu() for gradient in gradients))
    torch.testing.assert_close(found, context_and_gradients(by_module), atol=1e-4, rtol=1e-4)


def test_a_training_tile_of_an_accelerator_holds_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_of_tiles(device: str) -> list[int]:
        x_BHTK = torch.empty(2, 3, 300, 8, device=device)
        tiles = training_tiles(Operands(x_BHTK, x_BHTK), None)
        return [tile.rows.stop - tile.rows.start for tile in tiles]

    assert rows_of_tiles("cpu") == [128, 128, 44]
    assert rows_of_tiles("meta") == [300]
    monkeypatch.setattr(tiling, "ACCELERATOR_TRAINING_ENTRIES", 2 * 3 * 300 * 200)
    assert rows_of_tiles("meta") == [200, 100]


def test_scores_on_an_accelerator_come_in_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_of_tiles(device: str) -> list[int]:
        module = RelativePositions(d_model=8, num_heads=1, head_dim=8).to(device)
        x_BHTK = torch.empty(2, 1, 300, 8, device=device)
        keys = module.keys(x_BHTK, RelativePositions.table(300, 8, 1, x_BHTK))
        with torch.no_grad():
            return [tile_BHRT.shape[2] for tile_BHRT in module.score_tiles(x_BHTK, keys)]

    assert rows_of_tiles("cpu") == [128, 128, 44]
    assert rows_of_tiles("meta") == [300]
    monkeypatch.setattr(tiling, "ACCELERATOR_ENTRIES", 2 * 300 * 200)
    assert rows_of_tiles("meta") == [200, 100]
