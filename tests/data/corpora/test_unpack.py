from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from asr.data.corpora.archives import unpack
from asr.errors import InputError

from .server import pack, part_files


def silent(_: str) -> None:
    """No progress."""


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def archive_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "dev-clean.tar.gz"
    path.write_bytes(data)
    return path


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    files = part_files("dev-clean")
    program = member("LibriSpeech/run.sh")
    program.mode = 0o4777
    archive = archive_of(
        tmp_path, pack(files, member("LibriSpeech/empty", tarfile.DIRTYPE), program)
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "left over").touch()
    unpack(archive, tmp_path / "out", silent)
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == {**files, "LibriSpeech/run.sh": b""}
    assert (tmp_path / "out" / "LibriSpeech" / "empty").is_dir()
    assert (tmp_path / "out" / "LibriSpeech" / "run.sh").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("LibriSpeech/../../evil"), "leads out of the folder by '..'"),
        (member("../evil"), "leads out of the folder by '..'"),
        (member("/evil"), "has an absolute name"),
        (member("C:evil"), "has an absolute name"),
        (member("LibriSpeech/a", tarfile.SYMTYPE, "/"), "is a link or a device"),
        (member("LibriSpeech/a", tarfile.LNKTYPE, "../evil"), "is a link or a device"),
        (member("LibriSpeech/a", tarfile.CHRTYPE), "is a link or a device"),
        (member("LibriSpeech/a", tarfile.FIFOTYPE), "is a link or a device"),
    ],
)
def test_nothing_escapes(tmp_path: Path, bad: tarfile.TarInfo, reason: str) -> None:
    archive = archive_of(tmp_path, pack(part_files("dev-clean"), bad))
    with pytest.raises(InputError) as error:
        unpack(archive, tmp_path / "deep" / "out", silent)
    assert str(archive) in str(error.value)
    assert repr(bad.name) in str(error.value)
    assert reason in str(error.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "dev-clean.tar.gz"]


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = pack(part_files("dev-clean"))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    twice = pack({"a/b": b"", "a/b/c": b""})
    for data in (whole[:-5000], bytes(flipped), b"<html>not found</html>", b"", twice):
        archive = archive_of(tmp_path, data)
        with pytest.raises(InputError, match=r"dev-clean\.tar\.gz: damaged archive"):
            unpack(archive, tmp_path / "out", silent)
        assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, pack(part_files("dev-clean")))

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", interrupt)
    assert not (tmp_path / "out").exists()


def zipped(files: dict[str, bytes], *, link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    files = {"ROOT/a/b.wav": bytes(5000), "ROOT/c.txt": b"words\n"}
    archive = tmp_path / "rirs.zip"
    archive.write_bytes(zipped({**files, "ROOT/empty/": b""}))
    unpack(archive, tmp_path / "out", silent)
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == files
    assert (tmp_path / "out" / "ROOT" / "empty").is_dir()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zipped({"ROOT/../../evil": b"x"}), "leads out of the folder by '..'"),
        (zipped({"/evil": b"x"}), "has an absolute name"),
        (zipped({}, link="ROOT/a"), "is a link or a device"),
        (zipped({"ROOT/a": bytes(5000)})[:-30], "damaged archive"),
        (zipped({"ROOT/a": b"x" * 999}).replace(b"ROOT/a", b"ROOT/b", 1), "damaged archive"),
        (b"no zip", "damaged archive"),
    ],
)
def test_a_bad_zip_leaves_nothing(tmp_path: Path, data: bytes, reason: str) -> None:
    archive = tmp_path / "rirs.zip"
    archive.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(reason)):
        unpack(archive, tmp_path / "out", silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rirs.zip"]


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_an_archive_that_grows_without_end_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.data.corpora.archives._SPARE_BYTES", 1000)
    zeros, path = bytes(1_000_000), tmp_path / f"bomb.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", zeros)
    else:
        path.write_bytes(pack({"zeros": zeros}))
    with pytest.raises(InputError, match="which no corpus of this size does"):
        unpack(path, tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()
