"""Preparing the synthetic corpus: plan, speak in shards, write FLAC files and manifests."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from asr.audio.write import write_audio
from asr.data.manifest import CheckedUtterance
from asr.data.prepare import write_corpus
from asr.data.progress import print_progress
from asr.data.summary import SUMMARY_FILE, PrepareSummary, read_summary
from asr.data.synthetic.plan import Shard, make_plan
from asr.data.synthetic.speaker import SAMPLE_RATE_HZ, Speaker, record, require_synthesizer
from asr.errors import InputError
from asr.files import read_lines, write_text

CORPUS_VERSION = 1  # raise it when the grammar, the voices or the recording change
_LENGTHS = "num_samples.json"  # each shard's last file: utterance -> length
_SETTINGS = "settings.json"


def prepare_synthetic(
    out: str | Path,
    *,
    num_train: int = 3600,
    num_dev: int = 300,
    num_test: int = 300,
    seed: int = 2024,
    num_jobs: int = 2,
    sentences: str | Path | None = None,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Speak ``train``, ``dev``, ``test`` and ``test-accents`` (``num_test`` each of the last two).

    ``dev`` has the voices of ``train``; ``test`` has voices, ``test-accents`` also accents, that
    are not in ``train``. No sentence of a held-out split is in another split. ``sentences`` is a
    text file with one sentence a line, to be spoken in every split instead. Transcripts are upper
    case. The same counts and seed give the same bytes, whatever ``num_jobs``. A complete folder is
    verified and left as it is; an incomplete one is completed shard by shard.

    Raises ``InputError`` if the synthesiser is not installed, a number is out of range, the file
    holds no sentence, or ``out`` holds something else.
    """
    out = Path(out)
    counts = {"train": num_train, "dev": num_dev, "test": num_test, "test-accents": num_test}
    _check_numbers(counts, num_jobs)
    settings: dict[str, Any] = {
        "corpus": "synthetic",
        "version": CORPUS_VERSION,
        "seed": seed,
        "num_utterances": counts,
    }
    own = None if sentences is None else _read_sentences(Path(sentences))
    if own is not None:
        settings["sentences"] = own
    _check_folder(out, settings)
    plan = make_plan(counts, seed, own)
    missing = [shard for shard in plan if _read_lengths(out, shard) is None]
    summary = read_summary(out)
    if summary is not None and summary.is_intact and not missing:
        report(f"{out} is complete")
        return summary
    if missing:
        require_synthesizer()
        (out / SUMMARY_FILE).unlink(missing_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / _SETTINGS, json.dumps(settings, indent=2) + "\n")
        _speak_all(missing, out, num_jobs, report)
    return write_corpus(
        PrepareSummary(out, {}, (), settings), _utterances(plan, out), report=report
    )


def _check_numbers(counts: dict[str, int], num_jobs: int) -> None:
    for split, count in counts.items():
        if not 1 <= count <= 100_000:
            key = "num_" + split.split("-")[0]
            raise InputError(f"{key} is {count}; allowed are 1 to 100,000 utterances")
    if num_jobs < 1:
        raise InputError(f"num_jobs is {num_jobs}; at least 1 is needed")


def _read_sentences(path: Path) -> list[str]:
    sentences = [" ".join(line.split()).lower() for _, line in read_lines(path)]
    if not any(character.isalnum() for sentence in sentences for character in sentence):
        raise InputError(f"{path}: no sentences; one a line is expected")
    return sentences


def _check_folder(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds another corpus or other files."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the corpus")
    try:
        found = json.loads((out / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != settings and (found is not None or any(out.iterdir())):
        what = "another synthetic corpus" if found is not None else "other files"
        raise InputError(f"{out} holds {what}; name another folder or delete it first")


def _speak_all(
    shards: list[Shard], out: Path, num_jobs: int, report: Callable[[str], None]
) -> None:
    total, done = sum(len(shard.utterances) for shard in shards), 0
    report(f"speaking {total:,} utterances")
    with ThreadPoolExecutor(num_jobs) as pool:
        futures = {pool.submit(_speak_shard, shard, out): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                done += len(futures[future].utterances)
                report(f"spoken {done:,} of {total:,} utterances")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _speak_shard(shard: Shard, out: Path) -> None:
    """Speak a shard with one worker process; its folder appears once the last file is written."""
    folder = _folder(out, shard)
    partial = folder.with_name(f".{folder.name}.partial")
    for left_over in (folder, partial):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    lengths = {}
    with Speaker() as speaker:
        for utterance in shard.utterances:
            recording = record(speaker.speak(utterance), seed=utterance.seed)
            write_audio(partial / f"{utterance.utterance_id}.flac", recording)
            lengths[utterance.utterance_id] = len(recording.samples)
    (partial / _LENGTHS).write_text(json.dumps(lengths, indent=0) + "\n")
    partial.rename(folder)


def _read_lengths(out: Path, shard: Shard) -> dict[str, int] | None:
    """Return the samples of each utterance of a complete shard, else None."""
    folder = _folder(out, shard)
    try:
        lengths: dict[str, int] = json.loads((folder / _LENGTHS).read_text())
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    except (OSError, ValueError):
        return None
    names = {
        utterance.utterance_id: f"{utterance.utterance_id}.flac" for utterance in shard.utterances
    }
    complete = lengths.keys() == names.keys() and all(sizes.get(n) for n in names.values())
    return lengths if complete else None


def _folder(out: Path, shard: Shard) -> Path:
    return out / "audio" / shard.split / shard.name


def _utterances(plan: Iterable[Shard], out: Path) -> dict[str, list[CheckedUtterance]]:
    utterances: dict[str, list[CheckedUtterance]] = defaultdict(list)
    for shard in plan:
        lengths = _read_lengths(out, shard)
        assert lengths is not None, f"shard {shard.split}/{shard.name} is incomplete"
        utterances[shard.split] += [
            CheckedUtterance(
                utterance_id=utterance.utterance_id,
                audio_path=_folder(out, shard) / f"{utterance.utterance_id}.flac",
                start_s=0.0,
                duration_s=lengths[utterance.utterance_id] / SAMPLE_RATE_HZ,
                sample_rate_hz=SAMPLE_RATE_HZ,
                num_channels=1,
                text=utterance.text.upper(),
                speaker=utterance.voice.name,
            )
            for utterance in shard.utterances
        ]
    return utterances
