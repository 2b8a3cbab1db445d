from __future__ import annotations

import math

import torch

from asr.metrics.attention import (
    NO_CLASS,
    same_and_other,
    same_run,
    token_relationship,
)

from .maps import NUM_HEADS, NUM_LAYERS, random_maps, uniform_maps

CLASSES = [0, 0, NO_CLASS, 1, 1, 0, 2, 0, 0, NO_CLASS, 1]


def run_around(frame: int) -> set[int]:
    """The frames of one class connected to ``frame``."""
    run = {frame}
    for step in (-1, 1):
        other = frame + step
        while 0 <= other < len(CLASSES) and CLASSES[other] == CLASSES[frame]:
            run.add(other)
            other += step
    return run


def test_as_a_loop() -> None:
    num_frames = len(CLASSES)
    probs = random_maps(num_frames)
    total, count = token_relationship(probs, torch.tensor(CLASSES), num_classes=4)
    relationship = total / count
    for layer in range(NUM_LAYERS):
        for head in range(NUM_HEADS):
            for p in range(4):
                for q in range(4):
                    means = []
                    for i in range(num_frames):
                        far = [
                            j
                            for j in range(num_frames)
                            if CLASSES[j] == q and j not in run_around(i)
                        ]
                        if CLASSES[i] == p and far:
                            mass = sum(float(probs[layer, head, i, j]) for j in far)
                            means.append(num_frames * mass / len(far))
                    found = float(relationship[layer, head, p, q])
                    assert count[p, q] == len(means)
                    if means:
                        assert math.isclose(found, sum(means) / len(means), abs_tol=1e-4)
                    else:
                        assert math.isnan(found)


def test_a_uniform_map_gives_1() -> None:
    total, count = token_relationship(
        uniform_maps(len(CLASSES)), torch.tensor(CLASSES), num_classes=3
    )
    seen = count > 0
    assert seen.sum() == 8  # the one run of class 2 has no other to look at
    assert torch.allclose((total / count)[0, 0][seen], torch.ones(8))


def test_a_head_that_looks_at_its_own_sound() -> None:
    classes = torch.tensor([0, 1, 0, 1])
    probs = torch.eye(4).roll(2, 1).expand(1, 1, 4, 4)  # two frames on: the same class
    total, count = token_relationship(probs, classes, num_classes=2)
    assert torch.equal((total / count)[0, 0], 4 * torch.eye(2))
    same, other = same_and_other(total / count, count)
    assert (same.item(), other.item()) == (4.0, 0.0)


def test_frames_without_a_class_break_runs_and_have_none() -> None:
    found = same_run(torch.tensor([NO_CLASS, 1, 1, NO_CLASS, NO_CLASS, 1]))
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[1:3, 1:3] = True
    expected[5, 5] = True
    assert torch.equal(found, expected)


def test_nothing_aligned_is_nothing_counted() -> None:
    total, count = token_relationship(uniform_maps(3), torch.full((3,), NO_CLASS), num_classes=2)
    assert not total.any()
    assert not count.any()
    same, other = same_and_other(total / count, count)
    assert same.isnan().all()
    assert other.isnan().all()
