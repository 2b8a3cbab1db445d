"""What starting a command imports; each in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("lightning", "lhotse", "hydra", "tensorboard", "jiwer", "matplotlib")


def imported_by(statement: str) -> set[str]:
    """Top-level packages in ``sys.modules`` after ``statement``."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.splitlines()[-1].split())


def test_the_package_imports_nothing() -> None:
    assert not imported_by("import asr") & {"torch", "numpy", *HEAVY}


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("from asr.cli.main import main; main([])") & {"torch", "numpy", *HEAVY}


def test_a_job_of_a_cluster_waits_for_no_library() -> None:
    assert not imported_by("import asr.cli.training_job") & {"torch", "numpy", *HEAVY}


@pytest.mark.parametrize("verb", ["transcribe", "evaluate", "analyze"])
def test_reading_audio_waits_for_no_training_code(verb: str) -> None:
    unwanted = {"lightning", "hydra", "tensorboard", "matplotlib"} | (
        {"lhotse"} if verb == "transcribe" else set()
    )
    assert not imported_by(f"import asr.cli.{verb}") & unwanted


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
def test_help_and_timing_wait_for_no_training_code(verb: str) -> None:
    assert not imported_by(f"import asr.cli.{verb}") & {"lightning", "lhotse", "tensorboard"}


def test_reading_a_model_waits_for_no_compiler() -> None:
    assert not imported_by("import asr.decode.recogniser") & {"triton"}


@pytest.mark.parametrize("verb", ["transcribe", "export", "serve"])
def test_a_missing_extra_is_said_before_it_is_imported(verb: str) -> None:
    extras = {"onnx", "onnxruntime", "silero_vad", "fastapi", "ray", "huggingface_hub"}
    assert not imported_by(f"import asr.cli.{verb}") & extras


def test_importing_the_library_draws_no_random_number() -> None:
    script = (
        "import random, numpy, torch\n"
        "torch.manual_seed(5); numpy.random.seed(5); random.seed(5)\n"
        "before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1]\n"
        "import asr.model.build, asr.metrics.wer, asr.report, asr.decode, asr.text, asr.audio\n"
        "after = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1]\n"
        "assert torch.equal(before[0], after[0])\n"
        "assert before[1] == after[1]\n"
        "assert (before[2] == after[2]).all()\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
