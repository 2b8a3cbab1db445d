from __future__ import annotations

import re

import pytest
import torch

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.positions import PositionKind
from asr.reuse.few_heads import FewHeads
from asr.reuse.none import NoReuse
from tests.encoder.tiny import D_MODEL, POSITIONS, random_features, tiny_encoder

H, K = 4, D_MODEL // 4


@pytest.mark.parametrize("num_heads", [-1, 0, H, H + 1])
def test_a_number_of_heads_that_is_not_fewer(num_heads: int) -> None:
    message = f"reuse.num_heads={num_heads}: allowed: 1 to 3, below encoder.num_heads=4"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_encoder(reuse=FewHeads(num_heads=num_heads), num_heads=H)


@pytest.mark.parametrize("num_heads", [1, 2, 3])
@pytest.mark.parametrize("positions", POSITIONS)
def test_schedule_rows(positions: PositionKind, num_heads: int) -> None:
    """Queries, keys, values, positions and the rows of the output projection of a head."""
    per_head = 4 * D_MODEL * K + 3 * K
    if positions == "relative":
        per_head += D_MODEL * K + 2 * K
    saved = (H - num_heads) * per_head

    rows = tiny_encoder(
        reuse=FewHeads(num_heads=num_heads), positions=positions, num_heads=H
    ).schedule_rows()

    assert rows == [ScheduleRow(i, "alone", None, 0, saved, "few_heads") for i in range(4)]


@pytest.mark.parametrize("positions", POSITIONS)
def test_heads_that_say_nothing_may_as_well_be_absent(positions: PositionKind) -> None:
    full = tiny_encoder(reuse=NoReuse(), positions=positions, num_heads=H)
    few = tiny_encoder(reuse=FewHeads(num_heads=3), positions=positions, num_heads=H)
    state = full.state_dict()
    for name, tensor in few.state_dict().items():
        source = state[name]
        if name.endswith("mix.output.weight"):
            source[:, 3 * K :] = 0.0
            source = source[:, : 3 * K]
        state_rows = source[: tensor.shape[0]] if tensor.dim() else source
        tensor.copy_(state_rows)
    features = random_features([40, 13])

    with torch.no_grad():
        found, expected = few(*features), full(*features)

    for row, length in enumerate(found.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length], expected.frames_BTD[row, :length], atol=1e-5, rtol=1e-5
        )
