"""Archives of strangers: each is refused in a line, without code, memory or files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.cli.main import main
from asr.interop.archive import MAX_MEMBERS, Checkpoint, Member

from .foreign import NEMO_CONFIG, NUM_PIECES, changed_config, checkpoint_bytes, write_nemo

MEMORY_BYTES = 1 << 30


def weights() -> OrderedDict[str, Tensor]:
    return OrderedDict({"decoder.decoder_layers.0.weight": torch.zeros(NUM_PIECES + 1, 32, 1)})


def rezipped(change: Callable[[str, bytes], bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint with its records changed."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(checkpoint_bytes(weights()))) as old,
        zipfile.ZipFile(file, "w", kind) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def with_code() -> bytes:
    data = pickle.dumps({"a": Code()}, protocol=2)
    return rezipped(lambda name, old: data if name.endswith("data.pkl") else old)


def larger(shape: tuple[int, ...]) -> OrderedDict[str, Tensor]:
    """A tensor whose one stored number stands for all."""
    return OrderedDict({"decoder.decoder_layers.0.weight": torch.zeros(1).expand(shape)})


def with_false_size() -> bytes:
    """A storage that claims more numbers than its record holds."""
    count = (NUM_PIECES + 1) * 32
    old, new = pickle.dumps(count, protocol=2)[2:-1], pickle.dumps(10**9, protocol=2)[2:-1]
    return rezipped(
        lambda name, data: data.replace(old, new) if name.endswith("data.pkl") else data
    )


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"weights": with_code()}, "holds code ('posix.system')"),
    "huge tensor": ({"weights": larger((10**6, 10**6, 1))}, "is missing"),
    "huge head": ({"weights": larger((10**12, 32, 1))}, "is missing"),
    "false size": ({"weights": with_false_size()}, "is missing"),
    "not a checkpoint": ({"weights": b"x" * 5000}, "not a checkpoint of torch.save"),
    "packed": (
        {"weights": rezipped(lambda _, data: data, zipfile.ZIP_DEFLATED)},
        "allowed: up to 67,108,864, not compressed",
    ),
    "parent": ({"extra": (member("../outside"),)}, "'../outside' lies outside the archive"),
    "absolute": ({"extra": (member("/etc/outside"),)}, "'/etc/outside' lies outside"),
    "link": ({"extra": (member("a", tarfile.SYMTYPE),)}, "'a' is a link; files alone"),
    "hard link": ({"extra": (member("a", tarfile.LNKTYPE),)}, "'a' is a hard link"),
    "device": ({"extra": (member("a", tarfile.CHRTYPE),)}, "'a' is a device"),
    "pipe": ({"extra": (member("a", tarfile.FIFOTYPE),)}, "'a' is a pipe"),
    "many members": (
        {"extra": tuple(member(f"m{number}") for number in range(MAX_MEMBERS + 1))},
        "more than 1,000 members",
    ),
    "tag": ({"config": b"a: !!python/object/apply:os.system ['touch pwned']"}, "not plain YAML"),
    "alias": ({"config": b"a: &x [1]\nb: [*x, *x]"}, "an alias; NeMo writes none"),
    "list": ({"config": b"[1, 2]"}, "target=''; allowed: EncDecCTCModelBPE"),
    "depth": ({"config": b"[" * 100_000}, "not plain YAML"),
    "layers": (
        {"config": changed_config(encoder__n_layers=1000, encoder__d_model=16_384)},
        "allowed: half the memory of this machine",
    ),
    "loop": ({"config": changed_config(encoder__d_model="${encoder.d_model}")}, "whole number"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_in_a_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = HOSTILE[case]
    path = write_nemo(tmp_path / "a.nemo", **{"weights": weights(), **changes})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["import", str(path), "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(Path().iterdir())
    assert {one.name for one in tmp_path.iterdir()} == {"a.nemo", "here"}


LIMITED = f"""
import resource, sys, torch
from asr.cli.main import main
import asr.cli.import_model
resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY_BYTES}, {MEMORY_BYTES}))
codes = [main(["import", path, "--out", path + ".out"]) for path in sys.argv[1:]]
print(codes)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Archives that expand, or say they are larger than they are, and the gzip of a bomb."""
    bomb = tmp_path / "bomb.nemo"
    with gzip.open(bomb, "wb", 1) as file:
        for _ in range(80):
            file.write(bytes(1 << 20))
    sparse = tmp_path / "sparse.nemo"
    header = member("model_config.yaml")
    header.size = 1 << 36
    with sparse.open("wb") as plain:
        plain.write(header.tobuf(tarfile.GNU_FORMAT))
        plain.truncate(1 << 37)
    name = tmp_path / "name.nemo"
    header = member("a", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 36
    with name.open("wb") as plain:
        plain.write(header.tobuf(tarfile.GNU_FORMAT))
        plain.truncate(1 << 37)
    cut = write_nemo(tmp_path / "cut.nemo", weights(), NEMO_CONFIG)
    os.truncate(cut, 2000)
    paths = [str(path) for path in (bomb, sparse, name, cut)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "[2, 2, 2, 2]\n", done.stderr
    bombed, sparsed, named, shortened = done.stderr.splitlines()
    assert "expands to more than" in bombed
    assert "model_weights.ckpt missing" in sparsed
    assert "a header: 68,719,476,736 bytes; allowed: up to 65,536" in named
    assert "goes beyond the end of the file" in shortened


def test_tensors_are_read_as_they_were_saved() -> None:
    saved = {
        "plain": torch.arange(6.0).view(2, 3),
        "turned": torch.arange(6.0).view(2, 3).t(),
        "part": torch.arange(10, dtype=torch.float16)[3:7],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0),
        "count": torch.tensor(7),
    }
    data = checkpoint_bytes(OrderedDict(saved))
    read = Checkpoint(Member(io.BytesIO(data), 0, len(data)), "test")
    assert dict(read.shapes) == {name: tuple(tensor.shape) for name, tensor in saved.items()}
    for name, tensor in saved.items():
        assert read.read(name).equal(tensor.detach())
        assert read.read(name).dtype == tensor.dtype


def test_a_storage_of_a_false_size_is_not_read() -> None:
    data = with_false_size()
    read = Checkpoint(Member(io.BytesIO(data), 0, len(data)), "test")
    with pytest.raises(ValueError, match="says 4,000,000,000 bytes and holds"):
        read.read("decoder.decoder_layers.0.weight")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("target", "EncDecRNNTBPEModel", "target='EncDecRNNTBPEModel'; allowed: EncDecCTCModelBPE"),
        ("encoder__self_attention_model", "rel_pos_local_attn", "allowed: rel_pos"),
        ("encoder__att_context_size", [128, 128], "encoder.att_context_size=[128, 128]"),
        ("encoder__conv_norm_type", "layer_norm", "allowed: batch_norm, fused_batch_norm"),
        ("encoder__causal_downsampling", True, "encoder.causal_downsampling=True; allowed: False"),
        ("encoder__subsampling", "vggnet", "encoder.subsampling='vggnet'"),
        ("encoder__reduction", "pooling", "encoder.reduction='pooling'; allowed: null"),
        ("encoder__conv_kernel_size", 8, "encoder.conv_kernel_size=8: allowed: odd numbers"),
        ("preprocessor__normalize", "NA", "preprocessor.normalize='NA'; allowed: per_feature"),
        ("preprocessor__frame_splicing", 2, "preprocessor.frame_splicing=2; allowed: 1"),
        ("preprocessor__n_fft", 1024, "preprocessor.n_fft=1024; allowed: 512"),
        ("tokenizer__type", "wpe", "tokenizer.type='wpe'; allowed: bpe"),
        ("tokenizer__model_path", "nemo:gone", "tokenizer.model_path='gone' is not in it"),
        ("decoder__num_classes", 128, "decoder.num_classes=128, the tokenizer has 40 pieces"),
    ],
)
def test_what_ours_cannot_be_is_named(
    key: str, value: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_nemo(tmp_path / "a.nemo", weights(), changed_config(**{key: value}))
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_sources_of_no_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("no model")
    for source in (tmp_path / "text.txt", tmp_path, tmp_path / "gone.nemo"):
        assert main(["import", str(source), "--out", str(tmp_path / "out")]) == 2
        assert str(source) in capsys.readouterr().err
