from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora.parts import SOUNDS, Archive, Sounds
from asr.data.corpora.sounds import prepare_sounds
from asr.data.manifest import read_manifest
from asr.data.summary import PrepareSummary
from asr.errors import InputError

from .server import Site, pack

MUSAN = {
    "music/fma/music-fma-0000.wav": 1,
    "noise/free-sound/noise-free-sound-0000.wav": 1,
    "noise/sound-bible/noise-sound-bible-0000.wav": 1,
    "speech/librivox/speech-librivox-0000.wav": 1,
}
RIRS = {
    "simulated_rirs/smallroom/Room001/Room001-00001.wav": 1,
    "simulated_rirs/largeroom/Room001/Room001-00001.wav": 1,
    "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav": 8,
    "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav": 8,
    "pointsource_noises/noise-free-sound-0000.wav": 1,
}


def files_of(root: str, names: dict[str, int]) -> dict[str, bytes]:
    """Short recordings of so many channels, in the structure of the archive."""
    files = {f"{root}/README": b"about\n"}
    for seed, (name, channels) in enumerate(names.items()):
        buffer = io.BytesIO()
        noise = 0.1 * np.random.default_rng(seed).standard_normal((4000, channels))
        soundfile.write(buffer, noise, 16_000, format="WAV")
        files[f"{root}/{name}"] = buffer.getvalue()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def publish(site: Site, name: str, data: bytes) -> Sounds:
    """Offer ``data`` as the archive of ``name``."""
    sounds = SOUNDS[name]
    (archive,) = sounds.corpus.parts.values()
    site.files[f"/{sounds.corpus.resource}/{archive.file_name}"] = data
    md5 = hashlib.md5(data).hexdigest()
    offered = Archive(archive.part, len(data), md5, archive.suffix)
    return replace(sounds, corpus=replace(sounds.corpus, parts={archive.part: offered}))


def prepare(sounds: Sounds, out: Path, site: Site, said: list[str] | None = None) -> PrepareSummary:
    report = (lambda _: None) if said is None else said.append
    return prepare_sounds(sounds, out, mirror=site.url, report=report)


def test_musan(site: Site, tmp_path: Path) -> None:
    sounds = publish(site, "musan", pack(files_of("musan", MUSAN)))
    summary = prepare(sounds, tmp_path / "musan", site)
    counts = {part: split.num_utterances for part, split in summary.splits.items()}
    assert counts == {"music": 1, "noise": 2, "speech": 1}
    assert sorted(path.name for path in (tmp_path / "musan").iterdir()) == [
        "musan", "music.jsonl.gz", "noise.jsonl.gz", "speech.jsonl.gz", "summary.json"
    ]  # fmt: skip
    utterance = read_manifest(tmp_path / "musan" / "noise.jsonl.gz")[1]
    assert utterance.utterance_id == "noise/sound-bible/noise-sound-bible-0000"
    assert (utterance.duration_s, utterance.text, utterance.speaker) == (0.25, "", None)
    assert utterance.audio_path.is_file()


def test_rirs(site: Site, tmp_path: Path) -> None:
    sounds = publish(site, "rirs", zipped(files_of("RIRS_NOISES", RIRS)))
    summary = prepare(sounds, tmp_path / "rirs", site)
    counts = {part: split.num_utterances for part, split in summary.splits.items()}
    assert counts == {"simulated": 2, "real": 1, "isotropic-noise": 1, "point-noise": 1}


def test_what_is_there_stays(site: Site, tmp_path: Path) -> None:
    sounds = publish(site, "musan", pack(files_of("musan", MUSAN)))
    out = tmp_path / "musan"
    prepare(sounds, out, site)
    site.requests.clear()
    said: list[str] = []
    prepare(sounds, out, site, said)
    assert said == [f"{out} is complete"]
    (out / "noise.jsonl.gz").unlink()
    changed = out / "musan/music/fma/music-fma-0000.wav"
    changed.write_bytes(changed.read_bytes()[:2000])
    summary = prepare(sounds, out, site, said)
    assert (out / "noise.jsonl.gz").is_file()
    assert site.requests == []
    assert "music" not in summary.splits
    assert "cut short" in str(summary.skipped[0])
    shutil.rmtree(out / "musan")
    prepare(sounds, out, site, said)
    assert len(site.gets) == 1


def test_wrong_archives(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**12))
    sounds = publish(site, "rirs", zipped({"OTHER/a.wav": b"x"}))
    with pytest.raises(InputError, match=r"rirs_noises\.zip: holds no RIRS_NOISES"):
        prepare(sounds, tmp_path / "a", site)
    site.files["/28/rirs_noises.zip"] += b"x"
    with pytest.raises(InputError, match=r"has [\d,]+ bytes, expected"):
        prepare(sounds, tmp_path / "b", site)
    site.files["/17/musan.tar.gz"] = b"x"
    with pytest.raises(InputError, match=r"expected 11,086,114,085"):
        prepare(SOUNDS["musan"], tmp_path / "c", site)


@pytest.mark.parametrize("name", SOUNDS)
def test_the_table_of_archives(name: str) -> None:
    (archive,) = SOUNDS[name].corpus.parts.values()
    assert len(bytes.fromhex(archive.checksum)) == 16
    assert archive.num_bytes is not None
    assert 1e9 < archive.num_bytes < 12e9
