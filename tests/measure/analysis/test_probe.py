from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from asr.measure.analysis.attention import LinearProbe, num_correct

NUM_CLASSES, WIDTH = 3, 5


def samples(num_samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two layers: the first tells the class apart, the second is noise."""
    generator = torch.Generator().manual_seed(seed)
    class_S = torch.randint(NUM_CLASSES, (num_samples,), generator=generator)
    noise_LSD = torch.randn(2, num_samples, WIDTH, generator=generator)
    noise_LSD[0] = 0.1 * noise_LSD[0] + 4.0
    noise_LSD[0, :, :NUM_CLASSES] += functional.one_hot(class_S, NUM_CLASSES)
    return noise_LSD, class_S


def learnt(x_LSD: Tensor, class_S: Tensor, *, num_parts: int = 1, ridge: float = 1e-3) -> Tensor:
    probe = LinearProbe(num_classes=NUM_CLASSES, ridge=ridge)
    for x_part, class_part in zip(x_LSD.chunk(num_parts, 1), class_S.chunk(num_parts), strict=True):
        probe.learn(x_part, class_part)
    assert probe.num_samples == len(class_S)
    return probe.weight()


def test_streaming_equals_all_at_once() -> None:
    x_LSD, class_S = samples(60, seed=0)
    assert torch.allclose(learnt(x_LSD, class_S), learnt(x_LSD, class_S, num_parts=7))


def test_without_a_penalty_it_is_least_squares() -> None:
    x_LSD, class_S = samples(60, seed=0)
    weight_LDC = learnt(x_LSD, class_S, ridge=0.0)
    for layer in range(2):
        inputs = functional.pad(x_LSD[layer].double(), (0, 1), value=1.0)
        targets = functional.one_hot(class_S, NUM_CLASSES).double()
        expected = torch.linalg.lstsq(inputs, targets).solution
        assert torch.allclose(weight_LDC[layer], expected, atol=1e-8)


def test_a_large_penalty_leaves_the_bias_alone() -> None:
    x_LSD, class_S = samples(60, seed=0)
    weight_LDC = learnt(x_LSD, class_S, ridge=1e9)
    shares_C = class_S.bincount(minlength=NUM_CLASSES) / 60
    assert weight_LDC[:, :-1].abs().max() < 1e-6
    assert torch.allclose(weight_LDC[:, -1], shares_C.double().expand(2, -1), atol=1e-4)


def test_it_reads_what_is_there_and_nothing_else() -> None:
    weight_LDC = learnt(*samples(300, seed=0))
    informed, noise = num_correct(weight_LDC, *samples(300, seed=1)).tolist()
    assert informed == 300
    assert noise < 150


def test_the_scale_of_the_inputs_does_not_matter() -> None:
    x_LSD, class_S = samples(60, seed=0)
    weight_LDC = learnt(x_LSD, class_S)
    assert torch.allclose(learnt(128 * x_LSD, class_S)[:, :-1] * 128, weight_LDC[:, :-1])


def test_constant_channels_do_no_harm() -> None:
    x_LSD, class_S = samples(60, seed=0)
    x_LSD[:, :, -1] = 0.0
    assert learnt(x_LSD, class_S).isfinite().all()
