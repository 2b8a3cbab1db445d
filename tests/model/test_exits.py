from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.model.exits import ConfidentExit, mean_entropy
from asr.model.package import load_package
from tests.decode.package import save_tiny_package
from tests.encoder.tiny import random_features
from tests.equivalence.cases import CASES, Case
from tests.model.configs import CONFIG, ENCODERS, VOCAB_SIZE, random_waveforms, tiny_model
from tests.pairwise import pairwise

LENGTHS = [6000, 3, 2345, 5999, 200]


def config_of(
    layers: list[int], *, pattern: str = "LF", kind: str = "conformer", **encoder: Any
) -> dict[str, Any]:
    weight = 0.3 if layers else 0.0
    return CONFIG | {
        "head": CONFIG["head"] | {"intermediate_layers": layers, "intermediate_weight": weight},
        "reuse": {"_target_": "asr.reuse.probs.ReuseProbs", "pattern": pattern},
        "encoder": ENCODERS["conformer" if kind == "conformer" else "transformer"] | encoder,
    }


def model_of(layers: list[int], **changes: Any) -> AsrModel:
    return tiny_model(config_of(layers, **changes))


@torch.no_grad()
def read(model: AsrModel, lengths: list[int] = LENGTHS) -> list[Tensor]:
    """Log probabilities (T, V) of each utterance, without padding."""
    log_probs_BTV, lengths_B = model(*random_waveforms(lengths))
    return [one[:length] for one, length in zip(log_probs_BTV, lengths_B.tolist(), strict=True)]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pairwise(case=CASES, depth=[1, 2, 3, 4])
def test_an_exit_gives_what_that_layer_gives_under_every_method(case: Case, depth: int) -> None:
    encoder = case.encoder()
    features_BTF, lengths_B = random_features([61, 40, 3])
    with torch.no_grad():
        whole = encoder(features_BTF, lengths_B, [depth - 1])
        encoder.exit_at(depth)
        found = encoder(features_BTF, lengths_B)
    assert len(encoder.layers) == len(encoder.schedule) == encoder.num_layers == depth
    assert torch.equal(found.frames_BTD, whole.intermediate[0].frames_BTD)
    assert torch.equal(found.lengths_B, whole.intermediate[0].lengths_B)


@pytest.mark.parametrize("kind", ["conformer", "transformer"])
@pytest.mark.parametrize("pattern", ["LF", "LFFF", "LAF"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_exit_is_a_model_cut_to_its_layers(kind: str, pattern: str, depth: int) -> None:
    """Also inside a group, where the leader of the cut model has nobody left to lead."""
    model = model_of([0, 1, 2], pattern=pattern, kind=kind)
    shallow = build_model(config_of([], pattern=pattern, kind=kind, num_layers=depth), VOCAB_SIZE)
    weights = model.state_dict()
    shallow.load_state_dict({name: weights[name] for name in shallow.state_dict()})

    model.exit_at(depth)

    assert model.state_dict().keys() == shallow.state_dict().keys()
    assert_equal(read(model), read(shallow.eval()))


def test_the_last_exit_is_the_whole_model() -> None:
    model = model_of([0, 2])
    before = read(model)
    assert model.exits == (1, 3, 4)
    model.exit_at(4)
    assert all(map(torch.equal, read(model), before))


def test_layers_behind_an_exit_are_gone() -> None:
    model = model_of([1])
    num_parameters = sum(one.numel() for one in model.encoder.layers[:2].parameters())
    model.exit_at(2)
    assert sum(one.numel() for one in model.encoder.layers.parameters()) == num_parameters
    assert model.exits == (2,)
    assert [row.layer for row in model.encoder.schedule_rows()] == [0, 1]


@pytest.mark.parametrize("depth", [0, 3, 5, -1, 2.5, "2", None])
def test_a_layer_behind_which_no_head_was_trained(depth: Any) -> None:
    with pytest.raises(InputError, match=r"^exit .*: allowed: 2, 4, the numbers of layers after"):
        model_of([1]).exit_at(depth)


def test_a_head_of_the_last_layer_alone() -> None:
    config = config_of([]) | {
        "head": {
            "_target_": "asr.head.hybrid.HybridHead",
            **{"num_layers": 1, "num_heads": 2, "ffn_dim": 8, "dropout": 0.0},
        }
    }
    for model in (model_of([]), tiny_model(config)):
        with pytest.raises(InputError, match=r"exit 2: allowed: 4, .* (ctc|hybrid) head"):
            model.exit_at(2)
        with pytest.raises(InputError, match="trained only after its last layer, 4; exits need"):
            model.exit_when_confident(0.1)


@pytest.mark.parametrize("pattern", ["A", "LF", "LFFF", "LAF"])
def test_each_utterance_leaves_where_it_is_certain(pattern: str) -> None:
    """In a batch as alone, and with the output of a model cut there."""
    layers, lengths = [0, 1, 2], [6000, 2345, 5999, 900, 4000, 3]
    by_exit = {}
    for exit in (1, 2, 3, 4):
        model = model_of(layers, pattern=pattern)
        model.exit_at(exit)
        by_exit[exit] = read(model, lengths)
    entropies = {
        exit: [float(mean_entropy(one[None], torch.tensor([len(one)]))) for one in found]
        for exit, found in by_exit.items()
    }
    limit = sorted(entropies[1])[2] + 1e-4  # half of the utterances leave behind the first layer
    expected = [
        next(exit for exit in by_exit if exit == 4 or entropies[exit][row] <= limit)
        for row in range(len(lengths))
    ]
    assert len(set(expected)) > 1

    model = model_of(layers, pattern=pattern)
    confident = model.exit_when_confident(limit)
    found = read(model, lengths)

    assert_equal(found, [by_exit[exit][row] for row, exit in enumerate(expected)])
    frames: Counter[int] = Counter()
    for exit, one in zip(expected, found, strict=True):
        frames[exit] += len(one)
    assert confident.num_frames == frames
    mean = sum(exit * number for exit, number in frames.items()) / frames.total()
    assert confident.mean_layers == pytest.approx(mean)
    assert f"{mean:.2f} of 4 layers" in str(confident)


def test_an_encoder_with_several_rows_for_an_utterance() -> None:
    encoder = {key: value for key, value in ENCODERS["conformer"].items() if "conv" not in key}
    encoder |= {"_target_": "asr.encoder.septr.SepTr", "band_bins": 1, "subsampling": "conv4"}
    config = config_of([1], pattern="LF") | {"encoder": encoder}
    shallow, whole, model = tiny_model(config), tiny_model(config), tiny_model(config)
    shallow.exit_at(2)
    at_two, at_four = read(shallow), read(whole)
    entropies = [float(mean_entropy(one[None], torch.tensor([len(one)]))) for one in at_two]
    limit = sum(sorted(entropies)[1:3]) / 2
    model.exit_when_confident(limit)
    expected = [
        at_two[row] if entropy <= limit else at_four[row] for row, entropy in enumerate(entropies)
    ]
    assert_equal(read(model), expected)


@pytest.mark.parametrize(("entropy", "depth"), [(1e-9, 4), (100.0, 1)])
def test_no_layer_runs_for_nobody(entropy: float, depth: int) -> None:
    model = model_of([0, 1, 2])
    whole = model_of([0, 1, 2])
    whole.exit_at(depth)
    ran: list[nn.Module] = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda layer, *_: ran.append(layer))
    model.exit_when_confident(entropy)
    assert_equal(read(model), read(whole))
    assert ran == list(model.encoder.layers[:depth])


def test_who_has_left_is_computed_no_further_but_inside_a_group() -> None:
    for pattern, num_left in (("LF", 3), ("LFFF", 5)):
        shallow, model = model_of([1], pattern=pattern), model_of([1], pattern=pattern)
        shallow.exit_at(2)
        entropies = sorted(
            float(mean_entropy(one[None], torch.tensor([len(one)]))) for one in read(shallow)
        )
        sizes: list[int] = []
        for layer in model.encoder.layers:
            layer.register_forward_hook(
                lambda _, args, output, seen=sizes: seen.append(len(args[0]))
            )
        model.exit_when_confident((entropies[1] + entropies[2]) / 2)
        read(model)
        assert sizes == [5, 5, num_left, num_left]


@pytest.mark.parametrize("entropy", [0.0, -1.0, float("nan"), 101.0])
def test_an_entropy_that_is_none(entropy: float) -> None:
    with pytest.raises(InputError, match=r"exit_entropy=.*allowed: a number above 0, to 100"):
        model_of([0]).exit_when_confident(entropy)


def test_entropy_is_of_valid_frames() -> None:
    probs_BTV = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [0.1, 0.9]], [[0.2, 0.8]] * 3])
    found_B = mean_entropy(probs_BTV.log(), torch.tensor([2, 3]))
    expected = [0.6931 / 2, -(0.2 * torch.tensor(0.2).log() + 0.8 * torch.tensor(0.8).log())]
    torch.testing.assert_close(found_B, torch.tensor(expected), atol=1e-4, rtol=0)


def test_exits_of_different_frame_rates_are_not_mixed() -> None:
    model = model_of([0, 1, 2], pool_after=[2])
    with pytest.raises(InputError, match=r"pool_after=\[2\].*different frame rates"):
        model.exit_when_confident(0.5)
    same = tiny_model(config_of([2], pool_after=[2]))
    assert isinstance(same.exit_when_confident(100.0), ConfidentExit)
    shallow = tiny_model(config_of([2], pool_after=[2]))
    shallow.exit_at(3)
    assert_equal(read(same), read(shallow))


def test_a_package_is_loaded_up_to_an_exit(tmp_path: Path) -> None:
    folder = save_tiny_package(tmp_path / "model", config_of([1]))
    package = load_package(folder, exit=2)
    assert package.config["exit"] == package.model.encoder.num_layers == 2
    whole = load_package(folder)
    assert "exit" not in whole.config
    whole.model.exit_at(2)
    assert all(map(torch.equal, read(package.model), read(whole.model)))
    with pytest.raises(InputError, match="exit 3: allowed: 2, 4"):
        load_package(folder, exit=3)
