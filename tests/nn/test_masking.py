from __future__ import annotations

import pytest
import torch

from asr.nn import frames as masking
from asr.nn.frames import padding_mask, zero_padding


def test_mask_is_true_behind_each_length() -> None:
    mask = padding_mask(torch.tensor([3, 1, 0]), 3)

    assert mask is not None
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[False] * 3, [False, True, True], [True] * 3]


def test_no_mask_where_nothing_is_padded() -> None:
    assert padding_mask(torch.tensor([4, 4]), 4) is None


def test_always_a_mask_while_kernels_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "is_recorded", lambda _: True)
    mask = padding_mask(torch.tensor([4, 4]), 4)

    assert mask is not None
    assert not mask.any()


def test_zero_padding_touches_padding_only() -> None:
    x_BTD = torch.full((2, 3, 4), 7.0)
    x_BTD[1, 2] = float("nan")

    zeroed_BTD = zero_padding(x_BTD, padding_mask(torch.tensor([3, 2]), 3))

    assert torch.equal(zeroed_BTD[0], x_BTD[0])
    assert torch.equal(zeroed_BTD[1, :2], x_BTD[1, :2])
    assert torch.equal(zeroed_BTD[1, 2], torch.zeros(4))
    assert x_BTD[1, 2].isnan().all(), "the input must stay as it was"


def test_zero_padding_without_mask_is_the_input() -> None:
    x_BTD = torch.ones(1, 2, 3)

    assert zero_padding(x_BTD, None) is x_BTD
