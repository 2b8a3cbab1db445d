import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.features.specaugment import SpecAugment

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
        num_freq_masks=int(axis == "freq"),
        max_freq_width=width,
        num_time_masks=int(axis == "time"),
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
        ("max_time_warp", -1),
        ("ramp_steps", -1),
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
    with pytest.raises(InputError, match=rf"features\.specaugment\.{key}={value}: allowed: a "):
        SpecAugment(**arguments)  # type: ignore[arg-type]


def warp(max_time_warp: int) -> SpecAugment:
    return SpecAugment(
        num_freq_masks=0,
        max_freq_width=0,
        num_time_masks=0,
        max_time_width=0,
        max_time_fraction=0.0,
        max_time_warp=max_time_warp,
    )


def warped_times(*, seed: int, reach: int = 30) -> Tensor:
    """(B, T) the time that each frame of a draw comes from: features that are their own time."""
    torch.manual_seed(seed)
    times_BTF = torch.arange(float(NUM_FRAMES)).view(1, -1, 1).repeat(len(LENGTHS_B), 1, 2)
    result_BTF: Tensor = warp(reach)(times_BTF, LENGTHS_B)
    assert torch.equal(result_BTF[:, :, 0], result_BTF[:, :, 1])
    return result_BTF[:, :, 0]


def test_a_warp_is_two_even_stretches_that_meet_in_a_frame_that_moved() -> None:
    """Ends and padding stay, time never runs back, and the knee moves up to the reach, evenly."""
    moves = set()
    own = False
    for seed in range(120):
        times_BT = warped_times(seed=seed)
        own |= not torch.allclose(times_BT[0, :237], times_BT[1, :237])
        for times_T, length in zip(times_BT, LENGTHS_B.tolist(), strict=True):
            torch.testing.assert_close(
                times_T[length - 1 :], torch.arange(length - 1.0, NUM_FRAMES)
            )
            assert times_T[0] == 0
            steps = torch.diff(times_T[:length])
            assert (steps > 0).all()
            paces, counts = torch.unique(steps.mul(1e3).round(), return_counts=True)
            assert len(paces) <= 4  # two, and their roundings
            if length == 400:
                knee = int((steps - steps[0]).abs().gt(1e-3).int().argmax())
                moves.add(round(float(times_T[knee])) - knee if counts.max() < 398 else 0)
    assert own
    assert min(moves) < -25
    assert max(moves) > 25
    assert max(map(abs, moves)) <= 30


def test_a_warp_interpolates_and_leaves_its_input() -> None:
    features_BTF = torch.randn(4, NUM_FRAMES, NUM_BINS)
    copy_BTF = features_BTF.clone()
    torch.manual_seed(3)
    result_BTF = warp(40)(features_BTF, LENGTHS_B)
    assert torch.equal(features_BTF, copy_BTF)
    torch.manual_seed(3)
    times_BT = warp(40)(torch.arange(400.0).view(1, -1, 1).repeat(4, 1, 1), LENGTHS_B)[:, :, 0]
    for row in range(4):
        for frame in (0, 7, 39, 100, 399):
            time = float(times_BT[row, frame])
            left, share = int(time), time - int(time)
            right = min(left + 1, NUM_FRAMES - 1)
            expected_F = (1 - share) * copy_BTF[row, left] + share * copy_BTF[row, right]
            torch.testing.assert_close(result_BTF[row, frame], expected_F, atol=1e-3, rtol=1e-3)


def test_warps_of_utterances_shorter_than_the_reach_and_none_at_all() -> None:
    lengths_B = torch.tensor([1, 2, 3, 5])
    features_BTF = torch.randn(4, 5, NUM_BINS)
    for seed in range(20):
        torch.manual_seed(seed)
        result_BTF = warp(80)(features_BTF, lengths_B)
        assert result_BTF.isfinite().all()
        assert torch.equal(result_BTF[0], features_BTF[0])
        assert torch.equal(result_BTF[1], features_BTF[1])
    state = torch.random.get_rng_state()
    warp(0)(features_BTF, lengths_B)
    masks_only = torch.random.get_rng_state()
    torch.random.set_rng_state(state)
    warp(1)(features_BTF, lengths_B)
    assert not torch.equal(torch.random.get_rng_state(), masks_only)  # 0 draws nothing for it


def test_widths_grow_over_the_first_steps() -> None:
    augment = SpecAugment(
        num_freq_masks=1,
        max_freq_width=20,
        num_time_masks=1,
        max_time_width=40,
        max_time_fraction=1.0,
        ramp_steps=100,
    )
    lengths_B = torch.full((600,), NUM_FRAMES)
    widest = {}
    for num_steps in (0, 50, 100, 1000, None):
        augment.num_steps = num_steps
        torch.manual_seed(0)
        masked_BTF = augment(torch.ones(600, NUM_FRAMES, NUM_BINS), lengths_B) == 0
        bins = int(masked_BTF.all(dim=1).sum(dim=1).max())
        frames = int(masked_BTF.all(dim=2).sum(dim=1).max())
        widest[num_steps] = (bins, frames)
    assert widest == {0: (0, 0), 50: (10, 20), 100: (20, 40), 1000: (20, 40), None: (20, 40)}


def test_copies_are_warped_alike_and_masked_apart() -> None:
    torch.manual_seed(0)
    masks = {"num_freq_masks": 1, "max_freq_width": 6, "num_time_masks": 2, "max_time_width": 8}
    augment = SpecAugment(**masks, max_time_fraction=0.5, max_time_warp=9)
    features_BTF = torch.rand(3, 40, 16) + 1
    lengths_B = torch.tensor([40, 31, 22])
    one, other = augment(features_BTF, lengths_B, 2).chunk(2)
    kept = (one != 0) & (other != 0)
    assert torch.equal(one[kept], other[kept])
    assert all(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[kept], features_BTF[kept])
    assert torch.equal(augment.eval()(features_BTF, lengths_B, 2), features_BTF.repeat(2, 1, 1))
