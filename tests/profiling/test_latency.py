import gc
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.errors import InputError
from asr.profiling.latency import LatencySpec, Timing, ratio, ratio_interval, time_alternating


class Busy:
    """Spins for a while and notes how long it really took: the machine may be shared."""

    def __init__(self, milliseconds: float) -> None:
        self.milliseconds = milliseconds
        self.taken_ms: list[float] = []

    def __call__(self) -> None:
        start_ns = time.perf_counter_ns()
        while time.perf_counter_ns() < start_ns + self.milliseconds * 1e6:
            pass
        self.taken_ms.append((time.perf_counter_ns() - start_ns) / 1e6)


def test_a_known_wait_is_measured() -> None:
    wait = Busy(5.0)
    timing = time_alternating({"wait": wait}, repeats=9, warmup=1)["wait"]
    assert min(timing.samples_ms) >= 5.0
    assert timing.median_ms == pytest.approx(np.median(wait.taken_ms[1:]), abs=0.5)


def test_sleep_counts_although_the_processor_rests() -> None:
    timing = time_alternating({"sleep": lambda: time.sleep(0.005)}, repeats=5, warmup=0)["sleep"]
    assert min(timing.samples_ms) >= 5.0


def test_ratio_of_two_waits() -> None:
    long, short = Busy(6.0), Busy(2.0)
    timings = time_alternating({"long": long, "short": short}, repeats=9, warmup=0)
    expected = np.median(long.taken_ms) / np.median(short.taken_ms)
    assert ratio(timings["long"], timings["short"]) == pytest.approx(expected, rel=0.1)


def test_callables_alternate_and_warm_up() -> None:
    calls: list[str] = []
    timings = time_alternating(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2
    )
    assert "".join(calls) == "ababababab"
    assert len(timings["a"].samples_ms) == len(timings["b"].samples_ms) == 3


def test_warm_up_is_not_timed() -> None:
    waits = iter([0.05, 0.0, 0.0])
    timing = time_alternating({"x": lambda: time.sleep(next(waits))}, repeats=2, warmup=1)["x"]
    assert max(timing.samples_ms) < 50.0


def test_median_and_p90_of_known_samples() -> None:
    timing = Timing.from_samples([float(x) for x in range(11)])
    assert (timing.median_ms, timing.p90_ms) == (5.0, 9.0)


def test_ratio_is_that_of_the_times_that_are_printed() -> None:
    """Rounds disturbed by something else: 55.6 ms and 50.9 ms are 1.09x, not another number."""
    a = Timing.from_samples([55.6, 80.0, 50.0, 90.0, 51.0])
    b = Timing.from_samples([44.0, 50.9, 50.0, 78.0, 52.0])
    assert ratio(a, b) == a.median_ms / b.median_ms == 55.6 / 50.9
    low, high = ratio_interval(a, b) or (0.0, 0.0)
    assert low < 1.0 < ratio(a, b) < high


def test_interval_of_a_ratio_shrinks_with_quiet_and_with_many_rounds() -> None:
    rng = np.random.default_rng(0)

    def width(num_rounds: int, sd: float) -> float:
        a, b = (
            Timing.from_samples(list(mean * (1 + sd * rng.random(num_rounds))))
            for mean in (12.0, 10.0)
        )
        low, high = ratio_interval(a, b) or (0.0, 0.0)
        assert low <= ratio(a, b) <= high
        return high - low

    assert width(41, 0.2) < width(7, 0.2)
    assert width(7, 0.01) < 0.03
    same = Timing.from_samples([3.0, 9.0, 4.0])
    assert ratio_interval(same, same) == (1.0, 1.0)


def test_interval_holds_the_true_ratio() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        a, b = (Timing.from_samples(list(mean * rng.gamma(30, 1 / 30, 9))) for mean in (12.0, 10.0))
        low, high = ratio_interval(a, b) or (0.0, 0.0)
        held += low <= 1.2 <= high
    assert held >= 92


def test_too_few_rounds_have_no_interval() -> None:
    two = Timing.from_samples([1.0, 2.0])
    assert ratio_interval(two, two) is None


def test_ratio_refuses_unequal_rounds() -> None:
    with pytest.raises(ValueError, match="3 and 1 rounds"):
        ratio(Timing.from_samples([1.0, 1.0, 1.0]), Timing.from_samples([1.0]))


def test_no_round_begins_when_the_time_is_over() -> None:
    calls: list[str] = []

    def busy() -> None:
        calls.append("x")
        time.sleep(0.01)

    timing = time_alternating({"x": busy}, repeats=1000, warmup=1000, max_point_s=0.2)["x"]
    assert 3 < len(timing.samples_ms) <= 20
    assert 1 < len(calls) - len(timing.samples_ms) <= 5  # a quarter of that warms up


def test_three_rounds_are_timed_whatever_they_take() -> None:
    calls: list[str] = []
    timings = time_alternating(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=9, warmup=9, max_point_s=1e-9,
    )  # fmt: skip
    assert "".join(calls) == "ab" * 4
    assert [len(timing.samples_ms) for timing in timings.values()] == [3, 3]
    assert (
        len(time_alternating({"x": list}, repeats=2, warmup=0, max_point_s=1e-9)["x"].samples_ms)
        == 2
    )


def test_garbage_collector_rests_and_returns() -> None:
    states: list[bool] = []
    time_alternating({"x": lambda: states.append(gc.isenabled())}, repeats=2, warmup=0)
    assert states == [False, False]
    assert gc.isenabled()


def test_threads_are_set_and_restored_even_after_an_error() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def fail() -> None:
        seen.append(torch.get_num_threads())
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        time_alternating({"x": fail}, repeats=1, warmup=0, num_threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
    assert gc.isenabled()


def test_no_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="repeats=0: allowed: a whole number from 1"):
        time_alternating({}, repeats=0, warmup=0)


def test_only_this_module_reads_the_clock_for_latency() -> None:
    root = Path(__file__).parents[2] / "asr"
    readers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "perf_counter" in path.read_text()
        and path.parts[-2] in {"profiling", "measure", "report"}
    }
    assert readers == {"profiling/latency.py"}


def test_spec_keeps_plain_numbers() -> None:
    spec = LatencySpec(lengths_s=[5, 15], batch_sizes=[1, 8], repeats=2, warmup=0)
    assert spec.lengths_s == (5.0, 15.0)
    assert spec.batch_sizes == (1, 8)
    assert spec.num_threads is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lengths_s": []}, r"metrics.latency.lengths_s is \[\]"),
        ({"lengths_s": [5, -1]}, r"lengths_s=.*allowed: a list, each a number above 0"),
        ({"lengths_s": [5], "batch_sizes": [0]}, "metrics.latency.batch_sizes"),
        (
            {"lengths_s": [5], "repeats": 0},
            "metrics.latency.repeats=0: allowed: a whole number from 1",
        ),
        (
            {"lengths_s": [5], "warmup": -1},
            "metrics.latency.warmup=-1: allowed: a whole number from 0",
        ),
        (
            {"lengths_s": [5], "num_threads": 0},
            "metrics.latency.num_threads=0: allowed: a whole number from 1",
        ),
        (
            {"lengths_s": [5], "max_point_s": 0},
            "metrics.latency.max_point_s=0: allowed: a number above 0",
        ),
        (
            {"lengths_s": [5], "dtype": "half"},
            "^metrics.latency.dtype=half: allowed: float32, bfloat16, float16, int8$",
        ),
    ],
)
def test_spec_names_the_key(values: dict[str, list[int] | str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LatencySpec(**values)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_cuda_work_is_waited_for() -> None:
    x = torch.randn(4096, 4096, device="cuda")

    def multiply() -> None:
        y = x
        for _ in range(20):
            y = y @ x

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    timing = time_alternating({"x": multiply}, repeats=5, warmup=3, device="cuda")["x"]
    start.record()
    multiply()
    end.record()
    torch.cuda.synchronize()
    assert timing.median_ms == pytest.approx(start.elapsed_time(end), rel=0.5)
