import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr.profiling import memory
from asr.profiling.memory import available_mib, in_use_mib, peak_memory_mib

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _allocate(mebibytes: int, device: str = "cpu") -> None:
    torch.ones(mebibytes * 2**18, device=device)  # float32


@on_linux
def test_allocation_inside_the_call_is_seen() -> None:
    assert peak_memory_mib(lambda: _allocate(50)) == pytest.approx(50.0, rel=0.1)


@on_linux
def test_peak_is_the_highest_point_not_the_sum() -> None:
    def three_in_turn() -> None:
        for _ in range(3):
            _allocate(64)  # above 32 MiB glibc always takes and returns memory at once

    assert peak_memory_mib(three_in_turn) == pytest.approx(64.0, rel=0.1)


def _middle_peak_mib(function: Callable[[], None]) -> float:
    """Of five: the kernel may take pages from the process meanwhile, and a peak come out low."""
    return sorted(peak_memory_mib(function) or 0.0 for _ in range(5))[2]


def peak_beside_other_memory() -> float:
    held = torch.ones(40 * 2**18)
    freed = torch.ones(100 * 2**18)
    del freed
    peak_mib = _middle_peak_mib(lambda: _allocate(20))
    assert held.sum() == len(held)
    return peak_mib


def peak_of_small_blocks() -> float:
    def small_blocks() -> None:
        assert len([torch.ones(2**12) for _ in range(1280)]) == 1280  # 20 MiB in 16 KiB blocks

    return _middle_peak_mib(small_blocks)


def in_a_fresh_process(function: Callable[[], float]) -> float:
    """Where the heap has no history: what it cannot give back would be used again for nothing."""
    code = f"from {__name__} import {function.__name__} as run; print(run())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@on_linux
def test_memory_of_before_is_neither_charged_nor_credited() -> None:
    assert in_a_fresh_process(peak_beside_other_memory) == pytest.approx(20.0, rel=0.1)


@on_linux
def test_small_blocks_freed_before_are_charged_when_used_again() -> None:
    assert in_a_fresh_process(peak_of_small_blocks) == pytest.approx(20.0, rel=0.25)


@on_linux
def test_a_first_call_warms_up() -> None:
    kept: list[torch.Tensor] = []

    def keep_once() -> None:
        if not kept:
            kept.append(torch.ones(30 * 2**18))

    warm = peak_memory_mib(keep_once)
    assert warm is not None
    assert warm < 2.0


def test_unknown_device_says_nothing() -> None:
    assert peak_memory_mib(lambda: None, "meta") is None


def test_kernel_without_the_counter_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def write_text(self, text: str) -> None:
            raise PermissionError

    monkeypatch.setattr("asr.profiling.memory._CLEAR_REFS", Refusing())
    assert peak_memory_mib(lambda: None) is None


@pytest.mark.gpu
def test_cuda_allocation_is_seen() -> None:
    assert peak_memory_mib(lambda: _allocate(50, "cuda"), "cuda") == pytest.approx(50.0, rel=0.1)


@on_linux
def test_what_is_in_use_is_not_available() -> None:
    before = in_use_mib()
    held = torch.ones(100 * 2**18)
    after = in_use_mib()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(100.0, rel=0.1)
    there = available_mib()
    assert there is not None
    assert 0 < there < 2**24
    assert held.sum() == len(held)


@on_linux
@pytest.mark.parametrize(("limit", "expected"), [("max\n", 2000.0), (str(900 * 2**20), 600.0)])
def test_a_control_group_limits_what_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: float
) -> None:
    (tmp_path / "meminfo").write_text(f"MemFree:  1 kB\nMemAvailable:  {2000 * 1024} kB\n")
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(str(300 * 2**20))
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_mib() == expected
