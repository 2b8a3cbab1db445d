import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError, RunError
from asr.metrics.wer import WordErrors
from asr.profiling.latency import Timing
from asr.report.points import LatencyPoint
from asr.report.record import RunRecord, SplitWer, length_key
from asr.report.rows import schedule_text
from tests.report.records import none_record, probs_record


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "record.json"
    probs_record().save(path)
    return path


def _damage(path: Path, *keys: str | int, value: object) -> None:
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_a_record_comes_back_as_it_was(saved: Path) -> None:
    assert RunRecord.load(saved) == probs_record()
    assert RunRecord.load(saved.parent) == probs_record()


def test_bare_record_comes_back(tmp_path: Path) -> None:
    bare = none_record(
        macs={}, data={}, training=None, wer={}, latency=(), revision=None, schedule=()
    )
    bare.save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path) == bare


def test_json_has_the_names_of_the_design(saved: Path) -> None:
    content = json.loads(saved.read_text())
    assert content["schema_version"] == 1
    assert content["schedule"][1] == {
        "layer": 1,
        "role": "follow",
        "leader": 0,
        "heads_reused": 4,
        "parameters_saved": 1000,
        "method": "probs",
    }
    assert content["revision"] == {"commit": "0123456789abcdef", "dirty": True}
    assert content["wer"]["test"]["del"] == 1
    assert content["data"]["train"]["num_left_out"] == 1
    assert content["config"] == {
        "encoder": {"num_layers": 4, "dropout": 0.1},
        "seed": 7,
        "note": None,
    }


def test_undefined_rate_is_null_and_comes_back_as_nan(tmp_path: Path) -> None:
    empty = SplitWer.from_errors([WordErrors(ins=1)])
    none_record(wer={"test": empty}).save(tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["wer"]["test"]["wer"] is None
    loaded = RunRecord.load(tmp_path).wer["test"]
    assert math.isnan(loaded.wer)
    assert loaded.ins == 1


def test_infinite_config_values_stay_readable(tmp_path: Path) -> None:
    none_record(config={"limit": math.inf}).save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path).config == {"limit": "inf"}


def test_config_of_other_than_plain_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set has no plain form"):
        none_record(config={"a": {1}}).save(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_and_leaves_nothing_else(saved: Path) -> None:
    replace(probs_record(), run="other").save(saved)
    assert RunRecord.load(saved).run == "other"
    assert [path.name for path in saved.parent.iterdir()] == ["record.json"]


def test_a_failed_write_keeps_the_old_record(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"record.json cannot be written: no space left .* MiB"):
        replace(probs_record(), run="other").save(saved)
    assert RunRecord.load(saved).run == "probs"
    assert [path.name for path in saved.parent.iterdir()] == ["record.json"]


def test_missing_record_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"record\.json: no run record can be read: No such file"):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 1,', b"\xff\xfe\x00"])
def test_damaged_json_names_the_file(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(InputError, match=r"record\.json: not a run record, damaged JSON"):
        RunRecord.load(saved)


def test_every_truncation_is_refused(saved: Path) -> None:
    content = saved.read_bytes().rstrip()
    for size in range(0, len(content), 97):
        saved.write_bytes(content[:size])
        with pytest.raises(InputError, match="damaged JSON") as caught:
            RunRecord.load(saved)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"schema_version": 2}'])
def test_other_schema_is_refused(saved: Path, content: str) -> None:
    saved.write_text(content)
    with pytest.raises(InputError, match=r"schema version (None|2); 1 is expected"):
        RunRecord.load(saved)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["run"], 3, r"key 'run' is 3; a text is expected"),
        (["latency", 1, "median_ms"], "4", r"key 'latency\[1\]\.median_ms' is '4'; a number"),
        (["wer", "test", "words"], 1.5, r"key 'wer\.test\.words' is 1\.5; a whole number"),
        (["wer", "test", "words"], True, r"key 'wer\.test\.words' is True; a whole number"),
        (["training", "interrupted"], 0, r"key 'training\.interrupted' is 0; true or false"),
        (["schedule"], {}, r"key 'schedule' is \{\}; a list is expected"),
        (["hardware"], None, r"key 'hardware' is None; a mapping is expected"),
        (["macs", "15"], 7, r"key 'macs\.15' is 7; a mapping is expected"),
        (["hardware", "colour"], 7, r"unknown key 'hardware\.colour'; allowed: cpu_model, num"),
    ],
)
def test_damaged_value_names_its_key(
    saved: Path, keys: list[str | int], value: object, message: str
) -> None:
    _damage(saved, *keys, value=value)
    with pytest.raises(InputError, match=rf"record\.json: {message}"):
        RunRecord.load(saved)


def test_missing_key_is_named(saved: Path) -> None:
    content = json.loads(saved.read_text())
    del content["hardware"]["dtype"]
    saved.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"key 'hardware\.dtype' is missing"):
        RunRecord.load(saved)


def test_split_wer_from_errors() -> None:
    result = SplitWer.from_errors([WordErrors(1, 2, 3, 10), WordErrors(0, 0, 0, 30)])
    assert (result.wer, result.sub, result.del_, result.ins, result.words) == (15.0, 1, 2, 3, 40)
    assert result.low <= 15.0 <= result.high


def test_speedup_is_the_ratio_of_the_medians() -> None:
    point = LatencyPoint.from_timings(
        Timing.from_samples([1.0, 2.0, 10.0]),
        length_s=15.0,
        batch_size=4,
        baselines={"fused": Timing.from_samples([2.0, 3.0, 30.0])},
    )
    assert point.median_ms == 2.0
    assert point.p90_ms == pytest.approx(8.4)
    fused = point.baselines["fused"]
    assert (fused.speedup, fused.median_ms) == (1.5, 3.0)
    assert (fused.low, fused.high) == (1.5, 3.0)  # whole rounds are drawn: 3 / 2, 2 / 1, 30 / 10


@settings(deadline=None)
@given(st.floats(0.1, 3600).map(lambda x: round(x, 1)))
def test_length_keys_read_back(length_s: float) -> None:
    assert float(length_key(length_s)) == length_s


def test_length_keys_are_short() -> None:
    assert [length_key(x) for x in (15.0, 15, 2.5, 300.0)] == ["15", "15", "2.5", "300"]


@pytest.mark.parametrize(
    ("letters", "text"),
    [
        ("AAAA", "A x4"),
        ("LFFFLFFF", "LFFF x2"),
        ("LFFF", "LFFF"),
        ("LFFALFFA", "LFFA x2"),
        ("LFLFA", "LFLFA"),
        ("A", "A"),
        ("AA--", "AA--"),
        ("", ""),
    ],
)
def test_schedule_as_text(letters: str, text: str) -> None:
    template = probs_record().schedule[0]
    role = {"A": "alone", "L": "lead", "F": "follow", "-": "absent"}
    layers = [replace(template, layer=i, role=role[x]) for i, x in enumerate(letters)]
    assert schedule_text(layers) == text


def test_mixed_methods_as_text() -> None:
    lead = probs_record().schedule[0]
    alone = replace(lead, role="alone", method="local")
    assert schedule_text([lead, lead, alone, alone, alone]) == "probs L x2, local A x3"
