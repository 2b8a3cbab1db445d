from __future__ import annotations

import pytest
import torch

from asr.nn.frames import empty_spans, in_spans, num_valid, padding_mask, spread_over_spans

LENGTHS = [7, 3, 1]


@pytest.mark.parametrize("span", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("lengths", [[7, 3, 1], [7, 7, 7]], ids=str)
def test_frames_by_spans(span: int, lengths: list[int]) -> None:
    x_BTD = torch.randn(3, 7, 2)
    mask = padding_mask(torch.tensor(lengths), 7)

    spans_BSND = in_spans(x_BTD, mask, span)
    counts_BS = num_valid(x_BTD, mask, span)
    empty_BS = empty_spans(mask, span)

    assert spans_BSND.shape == (3, -(-7 // span), span, 2)
    for row, length in enumerate(lengths):
        for index in range(spans_BSND.shape[1]):
            valid = range(index * span, min((index + 1) * span, length))
            assert counts_BS[row, index] == len(valid)
            assert bool(empty_BS is not None and empty_BS[row, index]) == (len(valid) == 0)
            for place in range(span):
                frame = index * span + place
                expected_D = x_BTD[row, frame] if frame in valid else torch.zeros(2)
                assert torch.equal(spans_BSND[row, index, place], expected_D)


@pytest.mark.parametrize("span", [1, 3, 7])
def test_a_share_is_spread_over_the_valid_frames_of_its_span(span: int) -> None:
    mask = padding_mask(torch.tensor(LENGTHS), 7)
    num_spans = -(-7 // span)
    probs_BHRS = torch.rand(3, 2, 4, num_spans)

    probs_BHRT = spread_over_spans(probs_BHRS, torch.randn(3, 7, 5), mask, span)

    assert probs_BHRT.shape == (3, 2, 4, 7)
    for row, length in enumerate(LENGTHS):
        for frame in range(7):
            index = frame // span
            num_frames = min((index + 1) * span, length) - index * span
            share = (
                probs_BHRS[row, ..., index] / num_frames if frame < length else torch.zeros(2, 4)
            )
            torch.testing.assert_close(probs_BHRT[row, ..., frame], share)


def test_nothing_is_padding() -> None:
    assert empty_spans(None, 2) is None
    whole = spread_over_spans(torch.ones(1, 1, 1, 4), torch.zeros(1, 7, 1), None, 2)
    assert whole.flatten().tolist() == [0.5] * 6 + [1.0]
