import pytest
import torch
from torch import Tensor

from asr.features.specaugment import SpecAugment
from asr.types import InputError

NUM_BINS, NUM_FRAMES = 80, 400
LENGTHS_B = torch.tensor([400, 237, 40, 1])


def masked(augment: SpecAugment, *, seed: int) -> Tensor:
    """Where one draw falls, (B, T, F)."""
    torch.manual_seed(seed)
    ones_BTF = torch.ones(len(LENGTHS_B), NUM_FRAMES, NUM_BINS)
    result_BTF: Tensor = augment(ones_BTF, LENGTHS_B)
    return result_BTF == 0


def runs(row: Tensor) -> list[tuple[int, int]]:
    """Start and width of each stretch of True."""
    edges = torch.diff(row.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True)]


def one_mask(axis: str, *, width: int, fraction: float = 1.0) -> SpecAugment:
    return SpecAugment(
        num_freq_masks=axis == "freq",
        max_freq_width=width,
        num_time_masks=axis == "time",
        max_time_width=width,
        max_time_fraction=fraction,
    )


def test_evaluation_changes_nothing() -> None:
    features_BTF = torch.randn(4, NUM_FRAMES, NUM_BINS)
    assert one_mask("time", width=50).eval()(features_BTF, LENGTHS_B) is features_BTF


def test_does_not_touch_its_input() -> None:
    features_BTF = torch.randn(4, NUM_FRAMES, NUM_BINS)
    copy_BTF = features_BTF.clone()
    result_BTF = one_mask("freq", width=70)(features_BTF, LENGTHS_B)
    assert torch.equal(features_BTF, copy_BTF)
    kept = result_BTF != 0
    assert not kept.all()
    assert torch.equal(result_BTF[kept], features_BTF[kept])


def test_a_seed_decides_everything() -> None:
    augment = SpecAugment(
        num_freq_masks=2,
        max_freq_width=27,
        num_time_masks=10,
        max_time_width=100,
        max_time_fraction=0.05,
    )
    assert torch.equal(masked(augment, seed=1), masked(augment, seed=1))
    assert not torch.equal(masked(augment, seed=1), masked(augment, seed=2))


def test_frequency_stripes() -> None:
    """Whole valid frames, every width from none to the widest, every bin, own stripe per row."""
    augment = one_mask("freq", width=10)
    widths, starts, touched, own = set(), set(), torch.zeros(NUM_BINS, dtype=torch.bool), False
    for seed in range(150):
        masked_BTF = masked(augment, seed=seed)
        for row_TF, length in zip(masked_BTF, LENGTHS_B.tolist(), strict=True):
            assert (row_TF[:length] == row_TF[0]).all()
            assert not row_TF[length:].any()
            found = runs(row_TF[0])
            assert len(found) <= 1
            start, width = found[0] if found else (0, 0)
            widths.add(width)
            starts.add(start)
            touched |= row_TF[0]
        own |= not torch.equal(masked_BTF[0, 0], masked_BTF[1, 0])
    assert widths == set(range(11))
    assert touched.all()
    assert own


def test_time_stripes() -> None:
    """All bins at once, inside the utterance, up to its very ends, no wider than its share."""
    augment = one_mask("time", width=30, fraction=0.2)
    widths: list[set[int]] = [set() for _ in LENGTHS_B]
    touched = torch.zeros(len(LENGTHS_B), NUM_FRAMES, dtype=torch.bool)
    for seed in range(200):
        masked_BTF = masked(augment, seed=seed)
        assert torch.equal(masked_BTF.any(dim=2), masked_BTF.all(dim=2))
        touched |= masked_BTF[:, :, 0]
        for row_T, seen in zip(masked_BTF[:, :, 0], widths, strict=True):
            found = runs(row_T)
            assert len(found) <= 1
            seen.add(found[0][1] if found else 0)
    assert [max(seen) for seen in widths] == [30, 30, 8, 0]
    assert [min(seen) for seen in widths] == [0, 0, 0, 0]
    for row_T, length in zip(touched[:3], LENGTHS_B.tolist(), strict=False):
        assert row_T[:length].float().mean() > 0.95
        assert not row_T[length:].any()
    assert touched[2, 0]
    assert touched[2, 39]


def test_number_of_stripes() -> None:
    augment = SpecAugment(
        num_freq_masks=0,
        max_freq_width=0,
        num_time_masks=3,
        max_time_width=4,
        max_time_fraction=1.0,
    )
    counts = {len(runs(masked(augment, seed=seed)[0, :, 0])) for seed in range(60)}
    assert max(counts) == 3


def test_widths_are_uniform() -> None:
    augment = one_mask("freq", width=3)
    torch.manual_seed(0)
    masked_BTF = augment(torch.ones(4000, 1, 20), torch.ones(4000, dtype=torch.long)) == 0
    counts = torch.bincount(masked_BTF[:, 0].sum(dim=1), minlength=4)
    assert ((counts - 1000).abs() < 120).all()


def test_stripes_wider_than_the_features() -> None:
    features_BTF = torch.ones(50, 6, 5)
    for axis in ("freq", "time"):
        masked_BTF = one_mask(axis, width=1000)(features_BTF, torch.full((50,), 6)) == 0
        assert masked_BTF.flatten(1).all(dim=1).any()
        assert not masked_BTF.flatten(1).all(dim=1).all()


def test_no_masks_at_all() -> None:
    augment = SpecAugment(
        num_freq_masks=0,
        max_freq_width=0,
        num_time_masks=0,
        max_time_width=0,
        max_time_fraction=0.0,
    )
    assert not masked(augment, seed=0).any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_freq_masks", -1),
        ("max_freq_width", -1),
        ("num_time_masks", -2),
        ("max_time_width", -27),
        ("max_time_fraction", 1.5),
        ("max_time_fraction", -0.1),
    ],
)
def test_settings_that_cannot_be(key: str, value: float) -> None:
    arguments = {
        "num_freq_masks": 2,
        "max_freq_width": 27,
        "num_time_masks": 2,
        "max_time_width": 100,
        "max_time_fraction": 0.05,
        key: value,
    }
    with pytest.raises(InputError, match=rf"features\.specaugment\.{key}: {value} must be"):
        SpecAugment(**arguments)  # type: ignore[arg-type]
