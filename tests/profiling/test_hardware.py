import os
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch

from asr.profiling.hardware import (
    Hardware,
    Revision,
    describe_hardware,
    installed_versions,
    num_cores,
    source_revision,
)


def test_this_machine() -> None:
    hardware = describe_hardware("cpu", torch.bfloat16)
    assert hardware.gpu_model is None
    assert hardware.dtype == "bfloat16"
    assert hardware.num_threads == torch.get_num_threads()
    assert hardware.num_cores >= 1
    assert describe_hardware(num_threads=3).num_threads == 3


def test_processor_is_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast  CPU @ 3 GHz\nflags : x\nmodel name : B\n")
    monkeypatch.setattr("asr.profiling.hardware._CPU_INFO", info)
    assert describe_hardware().cpu_model == "Fast CPU @ 3 GHz"
    monkeypatch.setattr("asr.profiling.hardware._CPU_INFO", tmp_path / "none")
    assert describe_hardware().cpu_model


def test_hardware_in_words() -> None:
    gpu = Hardware(
        cpu_model="Some CPU", num_cores=1, num_threads=4, gpu_model="Some GPU", dtype="float16"
    )
    assert str(gpu) == "Some GPU, Some CPU, 4 threads of 1 core, float16"
    assert str(replace(gpu, cuda_graphs=True)).endswith(", float16, CUDA graphs")


def test_versions_are_those_installed() -> None:
    versions = installed_versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["python"].startswith("3.")


def test_absent_packages_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "lightning":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    versions = installed_versions()
    assert "lightning" not in versions
    assert versions["torch"] == "1.0"


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_revision_of_a_checkout(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    assert source_revision(source) is None
    _git(tmp_path, "init", "-q")
    assert source_revision(source) is None  # inside a checkout that does not track it
    _git(tmp_path, "add", "module.py")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "results.txt").write_text("untracked")
    assert source_revision(source) == Revision(commit=commit, dirty=False)
    source.write_text("x = 2\n")
    assert source_revision(source) == Revision(commit=commit, dirty=True)


def test_no_git_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_revision() is None


def test_revision_in_words() -> None:
    assert str(Revision(commit="0123456789abcdef", dirty=False)) == "0123456789"
    assert str(Revision(commit="0123456789abcdef", dirty=True)) == "0123456789 with local changes"


def test_cores_are_those_of_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr("asr.profiling.hardware._CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr("asr.profiling.hardware._CONTROL_GROUP", tmp_path / "own")
    assert num_cores() == 6
    (tmp_path / "own").write_text("0::/outer/inner\n")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert num_cores() == 6
    (tmp_path / "outer" / "cpu.max").write_text("250000 100000\n")
    assert num_cores() == 3, "two and a half"
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("20000 100000\n")
    assert num_cores() == describe_hardware().num_cores == 1
