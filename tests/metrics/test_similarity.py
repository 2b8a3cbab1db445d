from __future__ import annotations

import math

import torch

from asr.metrics.attention import (
    best_match,
    jensen_shannon_similarity,
    same_head,
    total_variation_similarity,
)

from .maps import NUM_FRAMES, NUM_HEADS, NUM_LAYERS, diagonal_maps, random_maps, uniform_maps

HEADS = [(layer, head) for layer in range(NUM_LAYERS) for head in range(NUM_HEADS)]


def test_total_variation_as_a_loop() -> None:
    probs = random_maps()
    similarity = total_variation_similarity(probs)
    assert similarity.shape == (NUM_LAYERS, NUM_HEADS, NUM_LAYERS, NUM_HEADS)
    for a in HEADS:
        for b in HEADS:
            distance = sum(
                0.5 * abs(float(probs[a][i, j]) - float(probs[b][i, j]))
                for i in range(NUM_FRAMES)
                for j in range(NUM_FRAMES)
            )
            assert math.isclose(similarity[a][b], 1 - distance / NUM_FRAMES, abs_tol=1e-6)


def divergence_bits(p: list[float], q: list[float]) -> float:
    def kl(a: list[float], b: list[float]) -> float:
        return sum(x * math.log2(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


def test_jensen_shannon_as_a_loop() -> None:
    probs = random_maps()
    similarity = jensen_shannon_similarity(probs)
    assert similarity.shape == (NUM_LAYERS, NUM_LAYERS, NUM_HEADS)
    for a in range(NUM_LAYERS):
        for b in range(NUM_LAYERS):
            for head in range(NUM_HEADS):
                rows = zip(probs[a, head].tolist(), probs[b, head].tolist(), strict=True)
                mean = sum(divergence_bits(p, q) for p, q in rows) / NUM_FRAMES
                assert math.isclose(similarity[a, b, head], 1 - mean, abs_tol=1e-6)


def test_equal_maps_have_similarity_1() -> None:
    probs = random_maps(num_layers=1).expand(4, -1, -1, -1)
    assert torch.allclose(same_head(total_variation_similarity(probs)), torch.ones(4, 4, 2))
    assert torch.allclose(jensen_shannon_similarity(probs), torch.ones(4, 4, 2), atol=1e-6)


def test_maps_without_a_common_frame_have_similarity_0() -> None:
    one = torch.eye(NUM_FRAMES)
    probs = torch.stack([one, one.roll(1, 1)]).unsqueeze(1)
    zero_off_diagonal = torch.eye(2).unsqueeze(-1)
    assert torch.equal(same_head(total_variation_similarity(probs)), zero_off_diagonal)
    assert torch.allclose(jensen_shannon_similarity(probs), zero_off_diagonal, atol=1e-6)


def test_a_diagonal_against_a_uniform_map() -> None:
    probs = torch.cat([diagonal_maps(), uniform_maps()])
    similarity = same_head(total_variation_similarity(probs))
    assert math.isclose(similarity[0, 1, 0], 1 / NUM_FRAMES, abs_tol=1e-6)


def test_the_order_of_frames_does_not_matter() -> None:
    probs = random_maps()
    order = torch.randperm(NUM_FRAMES)
    shuffled = probs[:, :, order][:, :, :, order]
    for measure in (total_variation_similarity, jensen_shannon_similarity):
        assert torch.allclose(measure(probs), measure(shuffled), atol=1e-6)


def test_the_best_match_finds_heads_in_another_order() -> None:
    probs = random_maps(num_layers=1)
    similarity = total_variation_similarity(torch.cat([probs, probs.flip(1)]))
    assert same_head(similarity)[0, 1].max() < 0.9
    assert torch.allclose(best_match(similarity), torch.ones(2, 2, NUM_HEADS), atol=1e-6)


def test_the_best_match_as_a_loop() -> None:
    similarity = total_variation_similarity(random_maps())
    found = best_match(similarity)
    for a, head in HEADS:
        for b in range(NUM_LAYERS):
            expected = max(float(similarity[a, head, b, other]) for other in range(NUM_HEADS))
            assert math.isclose(found[a, b, head], expected)
