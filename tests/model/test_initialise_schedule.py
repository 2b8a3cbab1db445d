"""One trained model starts every reuse schedule: what that copies, and what it computes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.convert import initialise
from tests.model.configs import CONFIG, ENCODERS, changed, random_waveforms, tiny_model

NONE = {"_target_": "asr.reuse.none.NoReuse"}


def with_reuse(reuse: Mapping[str, object]) -> AsrModel:
    return tiny_model(changed("reuse", reuse))


def test_a_schedule_takes_all_it_has_from_the_full_model() -> None:
    full, grouped = with_reuse(NONE), with_reuse(CONFIG["reuse"])
    gone = set(full.state_dict()) - set(grouped.state_dict())

    result = initialise(grouped, full.state_dict())

    assert result.fresh == ()
    assert set(result.unused) == gone
    assert all(".scores." in name and ("layers.1." in name or "layers.3." in name) for name in gone)
    for name, tensor in grouped.state_dict().items():
        assert torch.equal(tensor, full.state_dict()[name])


def test_the_full_model_keeps_its_own_scores_where_a_schedule_had_none() -> None:
    full, grouped = with_reuse(NONE), with_reuse(CONFIG["reuse"])
    before = {name: tensor.clone() for name, tensor in full.state_dict().items()}

    result = initialise(full, grouped.state_dict())

    assert result.unused == ()
    assert set(result.fresh) == set(full.state_dict()) - set(grouped.state_dict())
    for name in result.fresh:
        assert torch.equal(full.state_dict()[name], before[name])


def test_groups_of_one_from_the_full_model_compute_the_same() -> None:
    full = with_reuse(NONE)
    ones = with_reuse({"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 1})
    with torch.no_grad():
        for parameter in ones.parameters():
            parameter.zero_()

    initialise(ones, full.state_dict())

    waveforms = random_waveforms([4000, 2500])
    assert torch.equal(ones(*waveforms)[0], full(*waveforms)[0])


def test_a_model_of_other_widths_is_refused() -> None:
    """Counters and the like have the same shape in any model; they are no weights to start from."""
    other = ENCODERS["conformer"] | {
        "d_model": 24,
        "ffn_dim": 40,
        "subsampling_channels": 12,
        "conv_kernel_size": 7,
    }

    with pytest.raises(InputError, match="no tensor of that model fits"):
        initialise(tiny_model(changed("encoder", other)), tiny_model().state_dict())
