from __future__ import annotations

import pytest

from asr.cli.run_summary import describe_start, schedule_lines
from asr.model.convert import initialise
from asr.model.package import ModelPackage, load_package
from tests.decode.package import save_tiny_package
from tests.model.configs import changed, tiny_model


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("parent") / "model"))


def start_of(parent: ModelPackage, reuse: dict[str, object]) -> str:
    model = tiny_model(changed("reuse", reuse), vocab_size=parent.tokenizer.vocab_size)
    return describe_start(parent, model, initialise(model, parent.model.state_dict()))


def test_a_start_from_the_same_schedule_is_whole(parent: ModelPackage) -> None:
    said = start_of(parent, parent.config["reuse"])
    num_tensors = len(parent.model.state_dict())
    assert said == f"init: {num_tensors} tensors from {parent.folder}, 0 not used"


def test_a_start_from_another_schedule_names_both(parent: ModelPackage) -> None:
    said = start_of(parent, {"_target_": "asr.reuse.kv.ReuseKeysValues", "group_size": 4})
    assert said.endswith("; its reuse is probs (LF x2), this run's is kv (LFFF)")
    assert "new: " in said


def test_a_line_a_layer() -> None:
    heading, *lines = schedule_lines(tiny_model().encoder)
    assert heading == "layer  method     role    leader  heads reused  parameters saved"
    assert [line.split()[:5] for line in lines] == [
        ["0", "probs", "lead", "-", "0"],
        ["1", "probs", "follow", "0", "2"],
        ["2", "probs", "lead", "-", "0"],
        ["3", "probs", "follow", "2", "2"],
    ]
