"""Writing of a manifest and its audio as shards in lhotse's Shar format."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

from asr.audio.read import read_audio
from asr.audio.write import encode_flac
from asr.data.manifest import (
    CheckedUtterance,
    Utterance,
    compress,
    lhotse_cut,
    read_manifest,
)
from asr.data.prepare import report_skipped
from asr.data.progress import print_progress
from asr.data.shards.read import SHARDS_FILE, ShardIndex
from asr.data.summary import Skipped
from asr.errors import InputError
from asr.files import write_bytes

_NUM_AHEAD = 64  # utterances encoded at once

_Encoded: TypeAlias = tuple[CheckedUtterance, bytes]


def write_shards(
    manifest: Path,
    out: Path,
    *,
    shard_size: int = 1000,
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> ShardIndex:
    """Write ``<out>/cuts.NNNNNN.jsonl.gz``, ``<out>/recording.NNNNNN.tar`` and ``shards.json``.

    Each shard holds ``shard_size`` utterances in the manifest's order, the last one fewer. Audio is
    one channel of 16 bit FLAC at its own sample rate, cut to the utterance. The same manifest gives
    the same bytes. Audio that cannot be read is reported, counted and left out.

    Raises:
        InputError: ``out`` is a file or holds other things, nothing can be read, or with
            ``strict`` one utterance cannot be read; then ``shards.json`` is not written.
    """
    _make_room(out)
    utterances = read_manifest(manifest)
    skipped: list[Skipped] = []
    numbers: list[str] = []
    num_utterances, duration_s = 0, 0.0
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        encoded = _encode(utterances, pool, skipped, strict)
        for first in encoded:
            number = f"{len(numbers):06d}"
            shard = chain([first], islice(encoded, shard_size - 1))
            records = _write_tar(shard, out / f"recording.{number}.tar")
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            data = compress(lines.encode())
            write_bytes(out / f"cuts.{number}.jsonl.gz", data)
            digest.update(data)
            numbers.append(number)
            num_utterances += len(records)
            duration_s += sum(record["duration"] for record in records)
            report(f"wrote {num_utterances:,} of {len(utterances):,} utterances")
    report_skipped("skipped", skipped, report)
    if not numbers:
        raise InputError(f"{manifest} has no usable utterance; {len(skipped):,} skipped")
    index = ShardIndex(
        cuts=tuple(f"cuts.{number}.jsonl.gz" for number in numbers),
        recording=tuple(f"recording.{number}.tar" for number in numbers),
        num_utterances=num_utterances,
        duration_s=round(duration_s, 3),
        sha256=digest.hexdigest(),
    )
    write_bytes(out / SHARDS_FILE, index.to_bytes())
    report(
        f"{num_utterances:,} utterances, {duration_s / 3600:.2f} h in {len(numbers):,} shards "
        f"-> {out}" + (f"; {len(skipped):,} skipped" if skipped else "")
    )
    return index


def _make_room(out: Path) -> None:
    """Remove the shards of an earlier run, and nothing else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the shards")
    out.mkdir(parents=True, exist_ok=True)
    earlier = [*out.glob("cuts.*.jsonl.gz"), *out.glob("recording.*.tar"), out / SHARDS_FILE]
    for file in out.iterdir():
        if file not in earlier:
            raise InputError(f"{out} holds {file.name}; name an empty folder, or one of shards")
    for file in reversed(earlier):  # the index first: without it there are no shards
        file.unlink(missing_ok=True)


def _encode(
    utterances: Sequence[Utterance], pool: ThreadPoolExecutor, skipped: list[Skipped], strict: bool
) -> Iterator[_Encoded]:
    """Yield readable utterances in order; add the others to ``skipped``."""
    for start in range(0, len(utterances), _NUM_AHEAD):
        some = utterances[start : start + _NUM_AHEAD]
        for utterance, result in zip(some, pool.map(_encode_one, some), strict=True):
            if not isinstance(result, str):
                yield result
            elif strict:
                raise InputError(f"{utterance.utterance_id}: {result} (strict)")
            else:
                skipped.append(Skipped(utterance.utterance_id, result))


def _encode_one(utterance: Utterance) -> _Encoded | str:
    """Encode the utterance as FLAC, or return why it cannot be read."""
    path = utterance.audio_path
    try:
        waveform = read_audio(path, start_s=utterance.start_s, duration_s=utterance.duration_s)
    except InputError as error:
        return str(error)
    rate_hz, length_s = waveform.sample_rate_hz, waveform.duration_s
    whole = CheckedUtterance(
        utterance.utterance_id, path, 0.0, length_s, rate_hz, 1, utterance.text, utterance.speaker
    )
    return whole, encode_flac(waveform)


def _write_tar(encoded: Iterable[_Encoded], path: Path) -> list[dict[str, Any]]:
    """Write a tar file of audio and lhotse's recordings; return the cuts, with their offsets."""
    records = []
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w") as tar:
            for utterance, data in encoded:
                offset = _add(tar, f"{utterance.utterance_id}.flac", data)
                record = lhotse_cut(utterance, "", kind="shar", num_bytes=len(data), offset=offset)
                recording = json.dumps(record["recording"]).encode()
                _add(tar, f"{utterance.utterance_id}.json", recording)
                records.append(record)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return records


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a file; return the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
