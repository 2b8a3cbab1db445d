from __future__ import annotations

import pytest

from asr.measure.analysis.propose import fit_costs, measure_layer_costs, probed_schedules
from asr.model.package import ModelPackage
from asr.reuse.schedule import schedule_from_groups


def latency_ms(
    groups: list[int], *, base: float, alone: float, lead: float, follow: float
) -> float:
    """Of an encoder whose layers cost what they cost, whatever stands around them."""
    costs = {"alone": alone, "lead": lead, "follow": follow}
    return base + sum(costs[one.role.value] for one in schedule_from_groups(groups, sum(groups)))


@pytest.mark.parametrize("num_layers", [3, 4, 7, 16])
def test_costs_that_are_there_are_found(num_layers: int) -> None:
    machine = {"base": 20.0, "alone": 3.0, "lead": 4.5, "follow": 2.0}
    timed = {tuple(g): latency_ms(g, **machine) for g in probed_schedules(num_layers)}
    found = fit_costs(timed, length_s=15.0)
    assert found.costs.alone == pytest.approx(1.0)  # over a follower
    assert found.costs.lead == pytest.approx(2.5)
    for groups in ([1, num_layers - 1], [num_layers - 2, 1, 1], [num_layers]):
        predicted = found.base_ms + sum(map(found.costs.of_group, groups))
        assert predicted == pytest.approx(latency_ms(groups, **machine))


def test_two_layers_have_two_schedules() -> None:
    found = fit_costs({(1, 1): 10.0, (2,): 8.0}, length_s=1.0)
    assert found.base_ms + found.costs.of_group(2) == pytest.approx(8.0)
    assert found.base_ms + 2 * found.costs.of_group(1) == pytest.approx(10.0)


@pytest.mark.parametrize("num_layers", [1, 2, 3, 8])
def test_the_probed_schedules_fit_the_depth(num_layers: int) -> None:
    assert all(sum(groups) == num_layers for groups in probed_schedules(num_layers))


def test_a_real_encoder_is_timed(package: ModelPackage) -> None:
    found = measure_layer_costs(package.config, num_layers=4, length_s=0.5)
    assert found.length_s == 0.5
    for groups in probed_schedules(4):
        assert found.base_ms + sum(map(found.costs.of_group, groups)) > 0
