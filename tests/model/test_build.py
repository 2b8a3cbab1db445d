"""What a config may build, and how each mistake in one is named."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from asr.encoder.conformer import Conformer
from asr.encoder.transformer import Transformer
from asr.errors import InputError
from asr.head.ctc import CtcHead
from asr.model.build import MOVED, TARGET, build, build_encoder, build_model, target_class
from asr.nn.relative import RelativePositions
from asr.reuse.probs import ReuseProbs
from tests.model.configs import CONFIG, ENCODERS, VOCAB_SIZE, changed, without


def refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_model(config, VOCAB_SIZE)
    assert "\n" not in str(caught.value)


def test_a_whole_config_builds_the_model_it_describes() -> None:
    model = build_model(CONFIG, VOCAB_SIZE)

    assert isinstance(model.encoder, Conformer)
    assert isinstance(model.encoder.reuse, ReuseProbs)
    assert model.encoder.num_mel_bins == model.frontend.num_mel_bins == 10
    assert model.encoder.positions is RelativePositions
    assert isinstance(model.head, CtcHead)
    assert model.head.project.weight.shape == (VOCAB_SIZE, 16)
    assert model.frontend.specaugment is not None
    assert model.frame_shift_s == pytest.approx(0.04)


def test_the_config_is_left_as_it_was() -> None:
    before = repr(CONFIG)

    build_model(CONFIG, VOCAB_SIZE)

    assert repr(CONFIG) == before


def test_optional_features_may_be_absent_or_null() -> None:
    for config in (without("features.specaugment"), changed("features.specaugment", None)):
        assert build_model(config, VOCAB_SIZE).frontend.specaugment is None


def test_build_encoder_alone() -> None:
    config = {"encoder": ENCODERS["transformer"], "reuse": CONFIG["reuse"]}

    encoder = build_encoder(config, num_mel_bins=20)

    assert isinstance(encoder, Transformer)
    assert encoder.num_mel_bins == 20


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "encoder.num_head",
            r"unknown key encoder\.num_head: did you mean encoder\.num_heads\? allowed: .*d_model",
        ),
        ("encoder.conv_kernel", r"did you mean encoder\.conv_kernel_size\?"),
        ("encoder.zzz", r"^unknown key encoder\.zzz: allowed: "),
        ("reuse.groupsize", r"did you mean reuse\.group_size\?"),
        ("head.drop_out", r"did you mean head\.dropout\?"),
        ("features.fbank.num_mels", r"did you mean features\.fbank\.num_mel_bins\?"),
        ("encoder.reuse", r"unknown key encoder\.reuse"),
        ("encoder.num_mel_bins", r"unknown key encoder\.num_mel_bins"),
        ("head.vocab_size", r"unknown key head\.vocab_size"),
        ("head.d_model", r"unknown key head\.d_model"),
        ("head.self", r"unknown key head\.self"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(path: str, message: str) -> None:
    refused(changed(path, 1), message)


def test_what_the_code_supplies_is_not_offered() -> None:
    with pytest.raises(InputError) as caught:
        build_model(changed("head.zzz", 1), VOCAB_SIZE)

    assert "d_model" not in str(caught.value)
    assert "vocab_size" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["encoder.d_model", "encoder.positions", "features.normalize.variance"]
)
def test_a_missing_key_is_named(path: str) -> None:
    refused(without(path), rf"missing key {path}".replace(".", r"\."))


@pytest.mark.parametrize("path", ["encoder", "reuse", "head", "features.fbank"])
def test_a_group_without_target(path: str) -> None:
    refused(without(f"{path}._target_"), rf"{path}.* _target_")


@pytest.mark.parametrize("group", ["features", "encoder", "reuse", "head"])
@pytest.mark.parametrize("value", [None, [], "conformer", 5])
def test_a_group_that_is_no_group(group: str, value: object) -> None:
    refused(changed(group, value), group)


@pytest.mark.parametrize("group", ["features", "encoder", "reuse", "head"])
def test_a_group_that_is_missing(group: str) -> None:
    refused(without(group), group)


def test_features_that_nobody_knows_or_that_lack_the_filter_bank() -> None:
    refused(without("features.fbank"), "features: .*allowed: fbank")
    refused(
        changed("features.odd", CONFIG["features"]["fbank"]),
        "features: .*odd.*allowed: fbank",
    )


FOREIGN = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.open",
    "torch.load",
    "torch.nn.Linear",
    "pickle.loads",
    "importlib.import_module",
    "asrx.encoder.Evil",
    "asr",
    "asr.",
    "",
    ".",
    "Conformer",
    "__main__.Conformer",
]
SMUGGLED = [  # paths that begin inside asr and lead out, or to something that is no class
    "asr.os.system",
    "asr..os.system",
    "asr.model.package.Path",
    "asr.model.package.json.loads",
    "asr.model.build.import_module",
    "asr.model.build.build",
    "asr.profiling.hardware.subprocess.Popen",
    "asr.types.Tensor",
    "asr.types.np.ndarray",
    "asr.errors.InputError.__class__",
    "asr.types.__builtins__",
    "asr.encoder.conformer.Conformer.__init__",
    "asr.encoder.conformer",
    "asr.encoder.conformer.Conformr",
    "asr.encoder.nowhere.Conformer",
    "asr./etc/passwd.X",
    "asr.../evil.X",
    "asr.nn.\x00.X",
    "asr.__main__.main",
    "asr.cli.main.main",
]
ELSEWHERE = [  # classes of asr that are no encoder, reuse method, head or feature
    "asr.errors.InputError",
    "asr.types.Batch",
    "asr.reuse.schedule.Role",
    "asr.metrics.wer.AlignedWord",
    "asr.model.package.ModelPackage",
    "asr.text.tokenizer.Tokenizer",
    "asr.data.synthetic.worker.Espeak",
]


@pytest.fixture
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(*_: object, **__: object) -> None:
        raise AssertionError("code outside asr was run")

    monkeypatch.setattr(os, "system", caught)
    monkeypatch.setattr(subprocess, "Popen", caught)


@pytest.mark.usefixtures("_no_way_out")
@pytest.mark.parametrize("group", ["encoder", "reuse", "head", "features.fbank"])
@pytest.mark.parametrize("target", FOREIGN + SMUGGLED + ELSEWHERE)
def test_only_classes_of_the_group_are_built(group: str, target: str) -> None:
    """A model folder from a stranger may name whatever it likes; nothing of it is called."""
    with pytest.raises(InputError, match=group.replace(".", r"\.")):
        build_model(changed(group, {"_target_": target}), VOCAB_SIZE)


def mixed(*parts: Any) -> dict[str, Any]:
    """The config with these parts in a mixed schedule."""
    return changed("reuse", {"_target_": "asr.reuse.mixed.Mixed", "parts": list(parts)})


ALONE = {"layers": 2, "method": {"_target_": "asr.reuse.none.NoReuse"}}


def test_parts_of_a_mixed_schedule_are_built() -> None:
    pairs = {"_target_": "asr.reuse.probs.ReuseProbs", "groups": [2]}
    model = build_model(mixed(ALONE, {"method": pairs}), VOCAB_SIZE)

    rows = model.encoder.schedule_rows()
    assert [(row.method, row.role) for row in rows] == [
        ("none", "alone"), ("none", "alone"), ("probs", "lead"), ("probs", "follow")
    ]  # fmt: skip


@pytest.mark.usefixtures("_no_way_out")
@pytest.mark.parametrize("target", FOREIGN + SMUGGLED + ELSEWHERE)
def test_a_part_is_made_of_classes_of_its_group_too(target: str) -> None:
    refused(mixed(ALONE, {"method": {"_target_": target}}), r"reuse\.parts\[1\]\.method")
    refused(mixed(ALONE, {"_target_": target}), r"reuse\.parts\[1\]")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (5, r"^reuse\.parts\[1\]=5: allowed: a group of keys$"),
        ({"layers": 2}, r"^missing key reuse\.parts\[1\]\.method: Part needs it$"),
        (ALONE | {"layer": 2}, r"^unknown key reuse\.parts\[1\]\.layer: did you mean reuse\.parts"),
        (
            ALONE | {"layers": "2"},
            r"^reuse\.parts\[1\]\.layers='2': allowed: a whole number .*, or null$",
        ),
        (ALONE | {"method": "none"}, r"^reuse\.parts\[1\]\.method='none': allowed: a group"),
        (
            ALONE | {"method": {}},
            r"^config reuse\.parts\[1\]\.method has no _target_; .*configs/reuse/$",
        ),
        (
            ALONE | {"method": {"_target_": "asr.reuse.local.Local", "widh": 3}},
            r"^unknown key .*\[1\]\.method\.widh: did you mean reuse\.parts\[1\]\.method\.width\?",
        ),
        (
            ALONE | {"method": {"_target_": "asr.reuse.local.Local", "width": 0}},
            r"^reuse\.parts\[1\]\.method\.width=0: allowed: a whole number from 1 to",
        ),
        (
            ALONE | {"method": {"_target_": "asr.reuse.probs.ReuseProbs", "map_dtype": "int8"}},
            r"^reuse\.parts\[1\]\.method\.map_dtype=int8: allowed",
        ),
        (
            ALONE | {"method": {"_target_": "asr.reuse.grouping.Grouping", "group_size": 2}},
            r"^reuse\.parts\[1\]\.method\._target_=asr\.reuse\.grouping\.Grouping: not a ReuseM",
        ),
    ],
    ids=str,
)
def test_a_mistake_in_a_part_is_named_where_it_is(part: Any, message: str) -> None:
    refused(mixed(ALONE, part), message)


def test_a_class_of_reuse_that_is_no_method() -> None:
    grouping = {"_target_": "asr.reuse.grouping.Grouping", "group_size": 2}
    refused(changed("reuse", grouping), r"^reuse\._target_=.*Grouping: not a ReuseMethod$")


def test_parts_that_are_no_list() -> None:
    refused(
        changed("reuse", {"_target_": "asr.reuse.mixed.Mixed", "parts": ALONE}), r"reuse\.parts="
    )


@pytest.mark.usefixtures("_no_way_out")
@pytest.mark.parametrize("target", [None, 5, True, ["os.system"], {"_target_": "os.system"}])
def test_a_target_that_is_no_path(target: object) -> None:
    refused(changed("encoder._target_", target), r"encoder.*_target_")


@pytest.mark.usefixtures("_no_way_out")
def test_a_nested_target_is_plain_data() -> None:
    """Only the groups are built: a ``_target_`` further down is a value like any other."""
    nested = {"_target_": "os.system", "command": "touch evil"}

    refused(changed("encoder.dropout", nested), r"encoder\.dropout")


def test_a_group_of_another_kind_is_refused() -> None:
    refused(changed("reuse", CONFIG["encoder"]), r"reuse\._target_")
    refused(changed("encoder", CONFIG["reuse"]), r"encoder\._target_")
    refused(changed("features.fbank", CONFIG["head"]), r"features\.fbank\._target_")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("encoder.num_layers", "4"),
        ("encoder.num_layers", 4.0),
        ("encoder.d_model", "wide"),
        ("encoder.d_model", None),
        ("encoder.num_heads", {"_target_": "os.system"}),
        ("encoder.dropout", "none"),
        ("encoder.positions", ["relative"]),
        ("encoder.conv_kernel_size", "5"),
        ("encoder.conv_kernel_size", 5.0),
        ("reuse.group_size", "two"),
        ("reuse.group_size", 2.0),
        ("head.dropout", None),
        ("head.intermediate_layers", 2),
        ("features.fbank.num_mel_bins", "80"),
    ],
)
def test_a_value_of_another_type_is_named(path: str, value: object) -> None:
    """Overrides and package files reach the constructors as they were written."""
    refused(changed(path, value), path.replace(".", r"\."))


@pytest.mark.parametrize(
    "reuse", [{"groups": 4}, {"groups": ["2", "2"]}, {"leaders": 0}, {"pattern": 3}], ids=str
)
def test_a_schedule_of_another_type_is_named(reuse: dict[str, Any]) -> None:
    (way,) = reuse
    refused(changed("reuse", {"_target_": "asr.reuse.probs.ReuseProbs", **reuse}), rf"reuse\.{way}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("encoder.d_model", 0),
        ("encoder.d_model", -16),
        ("encoder.ffn_dim", 0),
        ("encoder.ffn_dim", -1),
        ("encoder.subsampling_channels", 0),
        ("encoder.conv_kernel_size", -3),
        ("encoder.dropout", 2.0),
        ("encoder.dropout", -0.1),
        ("encoder.subsampling", "conv8"),
        ("head.dropout", 1.5),
    ],
)
def test_a_value_out_of_range_is_named(path: str, value: object) -> None:
    refused(changed(path, value), path.replace(".", r"\."))


def test_an_intermediate_layer_the_encoder_has_not() -> None:
    for layer in (3, 4, -1):
        head = CONFIG["head"] | {"intermediate_layers": [layer], "intermediate_weight": 0.3}
        refused(changed("head", head), r"head\.intermediate_layers=.*allowed: 0 to 2")


def test_what_is_injected_reaches_the_class() -> None:
    head = build({"_target_": "asr.head.ctc.CtcHead"}, "head", d_model=4, vocab_size=3)

    assert head.project.weight.shape == (3, 4)


@pytest.mark.parametrize("old", MOVED)
def test_a_class_that_has_moved_is_found_by_its_old_path(old: str) -> None:
    group = old.split(".")[1]
    found = target_class({TARGET: old}, group)
    assert f"{found.__module__}.{found.__qualname__}" == MOVED[old]
