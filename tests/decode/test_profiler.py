from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from asr.decode.timing import Profiler


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_part_within_a_part_is_charged_to_itself(clock: list[float]) -> None:
    profiler = Profiler()
    with profiler.part("encoder"):
        clock[0] += 1
        with profiler.part("search"):
            clock[0] += 10
        clock[0] += 100
    clock[0] += 1000
    with profiler.part("search"):
        clock[0] += 10000
    assert profiler.times_s() == {"encoder": 101.0, "search": 10010.0}


def test_what_an_error_ends_is_charged_too(clock: list[float]) -> None:
    profiler = Profiler()

    def broken() -> None:
        with profiler.part("decode"):
            clock[0] += 1
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        broken()
    with profiler.part("search"):
        clock[0] += 2
    assert profiler.times_s() == {"decode": 1.0, "search": 2.0}


def test_getting_items_counts_and_what_is_done_with_them_does_not(clock: list[float]) -> None:
    profiler = Profiler()

    def items() -> list[int]:
        clock[0] += 5
        return [1, 2, 3]

    for _ in profiler.each((items() for _ in range(2)), "decode"):
        clock[0] += 100
    assert profiler.times_s() == {"decode": 10.0}


def test_calls_of_a_module_are_told_apart(clock: list[float]) -> None:
    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clock[0] += 3
            return x

    slow, profiler = Slow(), Profiler()
    with profiler.profile_module(slow, "features"), profiler.part("encoder"):
        clock[0] += 1
        slow(torch.ones(1))
        clock[0] += 1
    slow(torch.ones(1))
    assert profiler.times_s() == {"encoder": 2.0, "features": 3.0}


def test_threads_are_summed() -> None:
    profiler = Profiler()

    def work() -> None:
        with profiler.part("encoder"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert profiler.times_s()["encoder"] >= 0.15


@pytest.mark.gpu
def test_work_on_a_gpu_is_timed_where_it_is_done() -> None:
    profiler, device = Profiler(), torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)
    matrix @ matrix
    torch.cuda.synchronize()
    with profiler.part("encoder", device):
        for _ in range(50):
            matrix = (matrix @ matrix).tanh()
        with profiler.part("search"):
            matrix.sum().item()
    times_s = profiler.times_s()
    assert times_s["encoder"] > times_s["search"] > 0
