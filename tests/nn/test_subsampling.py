"""Subsampling against plain convolutions, written out over one unpadded utterance."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import InputError
from asr.nn import subsampling
from asr.nn.subsampling import ConvSubsampling, SubsamplingKind
from tests.encoder.tiny import randomise

NUM_MEL_BINS = 11
FACTORS: dict[SubsamplingKind, int] = {"conv4": 4, "separable8": 8}
LENGTHS = list(range(1, 41))

each_kind = pytest.mark.parametrize("kind", list(FACTORS))


def make(kind: SubsamplingKind, num_mel_bins: int = NUM_MEL_BINS) -> ConvSubsampling:
    module = ConvSubsampling(kind=kind, num_mel_bins=num_mel_bins, channels=4, d_model=6)
    randomise(module)
    return module.eval()


def plain(module: ConvSubsampling, features_TF: Tensor) -> Tensor:
    """The same convolutions over one utterance alone, (T, F) to (T', D)."""
    image_CTF = features_TF[None]
    for stage in module.stages:
        for step in cast(nn.Sequential, stage):
            if isinstance(step, nn.Conv2d):
                image_CTF = functional.conv2d(
                    image_CTF,
                    step.weight,
                    step.bias,
                    stride=2 if step.kernel_size == (3, 3) else 1,
                    padding=1 if step.kernel_size == (3, 3) else 0,
                    groups=step.groups,
                )
            else:
                image_CTF = image_CTF.relu()
    frames = image_CTF.permute(1, 2, 0).flatten(1)  # (frequency x channels), frequency first
    project = cast(nn.Linear, module.project)
    return functional.linear(frames, project.weight, project.bias)


@each_kind
def test_one_padded_batch_of_all_lengths_equals_each_alone(kind: SubsamplingKind) -> None:
    module = make(kind)
    features_BTF = torch.randn(len(LENGTHS), max(LENGTHS), NUM_MEL_BINS)

    with torch.no_grad():
        frames_BTD, lengths_B = module(features_BTF, torch.tensor(LENGTHS))
        for row, length in enumerate(LENGTHS):
            expected_TD = plain(module, features_BTF[row, :length])
            assert lengths_B[row] == len(expected_TD) == -(-length // FACTORS[kind])
            torch.testing.assert_close(
                frames_BTD[row, : len(expected_TD)], expected_TD, atol=1e-5, rtol=1e-5
            )


@each_kind
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 40])
def test_unpadded_batch(kind: SubsamplingKind, length: int) -> None:
    module = make(kind)
    features_BTF = torch.randn(2, length, NUM_MEL_BINS)

    frames_BTD, lengths_B = module(features_BTF, torch.tensor([length, length]))

    assert frames_BTD.shape == (2, -(-length // FACTORS[kind]), 6)
    assert lengths_B.tolist() == [frames_BTD.shape[1]] * 2
    for row in range(2):
        torch.testing.assert_close(
            frames_BTD[row], plain(module, features_BTF[row]), atol=1e-5, rtol=1e-5
        )


@each_kind
@pytest.mark.parametrize("chunk", [8, 16, 24])
def test_chunks_of_time_join_without_a_seam(
    kind: SubsamplingKind, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(kind)
    features_BTF = torch.randn(3, 50, NUM_MEL_BINS)
    lengths_B = torch.tensor([50, 31, 16])
    whole_BTD, _ = module(features_BTF.requires_grad_(), lengths_B)
    monkeypatch.setattr(subsampling, "CHUNK_FRAMES", chunk)

    with torch.no_grad():
        joined_BTD, joined_lengths_B = module(features_BTF, lengths_B)

    torch.testing.assert_close(joined_BTD, whole_BTD.detach(), atol=1e-6, rtol=1e-6)
    assert joined_lengths_B.tolist() == [-(-length // FACTORS[kind]) for length in (50, 31, 16)]


@each_kind
@pytest.mark.parametrize("num_mel_bins", [1, 7, 8, 9, 80])
def test_any_number_of_mel_bins(kind: SubsamplingKind, num_mel_bins: int) -> None:
    frames_BTD, _ = make(kind, num_mel_bins)(torch.randn(1, 9, num_mel_bins), torch.tensor([9]))

    assert frames_BTD.shape == (1, -(-9 // FACTORS[kind]), 6)


@each_kind
def test_factor(kind: SubsamplingKind) -> None:
    assert make(kind).factor == FACTORS[kind]


def test_separable8_is_depthwise_then_pointwise() -> None:
    def convolutions(stage: nn.Module) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        found = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
        return [(conv.groups, conv.kernel_size, conv.stride) for conv in found]

    stages = [convolutions(stage) for stage in make("separable8").stages]

    assert stages == [
        [(1, (3, 3), (2, 2))],
        [(4, (3, 3), (2, 2)), (1, (1, 1), (1, 1))],
        [(4, (3, 3), (2, 2)), (1, (1, 1), (1, 1))],
    ]


@each_kind
def test_no_gradient_reaches_padding(kind: SubsamplingKind) -> None:
    features_BTF = torch.randn(2, 16, NUM_MEL_BINS, requires_grad=True)

    frames_BTD, lengths_B = make(kind)(features_BTF, torch.tensor([16, 5]))
    frames_BTD[1, : lengths_B[1]].sum().backward()

    assert features_BTF.grad is not None
    assert features_BTF.grad[1, :5].abs().sum() > 0
    assert features_BTF.grad[1, 5:].abs().sum() == 0
    assert features_BTF.grad[0].abs().sum() == 0


def test_input_is_left_as_it_was() -> None:
    features_BTF = torch.randn(2, 9, NUM_MEL_BINS)
    before_BTF = features_BTF.clone()

    with torch.no_grad():
        make("conv4")(features_BTF, torch.tensor([9, 4]))

    assert torch.equal(features_BTF, before_BTF)


def test_an_unknown_kind_is_refused() -> None:
    kind: Any = "conv8"

    with pytest.raises(InputError, match=r"encoder\.subsampling='conv8'.*conv4.*separable8"):
        ConvSubsampling(kind=kind, num_mel_bins=8, channels=4, d_model=6)
