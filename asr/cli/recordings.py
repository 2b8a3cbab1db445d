"""Input recordings of `asr transcribe`, and the output path of each transcript.

Files, folders and lists of paths become recordings. A recording found in a folder keeps its
relative path in ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio.open import AUDIO_SUFFIXES
from asr.audio.source import STDIN
from asr.cli.options import chunk_length, level_or_off, overlap, threads
from asr.decode.formats import FORMATS, suffix
from asr.decode.silence import SILENCE_DB
from asr.decode.vad import VADS
from asr.errors import InputError, printable
from asr.files import check_folder, fitting_name, read_lines

_MANIFESTS = (".jsonl", ".jsonl.gz")

OF_FILES: dict[str, object] = {
    **{"chunk": 30.0, "overlap": 4.0},
    **{"vad": VADS[0], "silence": SILENCE_DB},
}
"""Defaults of the options for cutting files."""


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file to read; ``place`` is its path relative to the given folder, if any.

    ``duration_s`` is its duration in a manifest.
    """

    path: Path
    place: Path
    duration_s: float | None = None


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for recordings and for the paths of their transcripts."""
    parser.add_argument(
        "files",
        nargs="*",
        type=audio_path,
        metavar="FILE",
        help="audio files of any format and rate; folders with audio files; manifests (.jsonl, "
        ".jsonl.gz); a pipe, or - for standard input; put names that begin with a dash after --",
    )
    parser.add_argument(
        "--list",
        type=audio_path,
        metavar="FILE",
        help="read paths from a file, or - for standard input, one per line",
    )
    parser.add_argument(
        "--recursive", action="store_true", help="also read folders inside a folder"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write a file per recording, named after it, instead of printing; recordings of a "
        "folder keep their relative paths",
    )
    parser.add_argument(
        "--beside", action="store_true", help="write each file into the folder of its recording"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="skip recordings that already have a file in --out, or beside them",
    )


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, the recogniser."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder, run folder, or a file of `asr export`",
    )


def add_chunk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for cutting long audio, and for threads."""
    parser.add_argument(
        "--chunk",
        type=chunk_length,
        default=OF_FILES["chunk"],
        metavar="S|none",
        help="longest chunk encoded at once; none: whole recordings, with memory that grows with "
        "their length (default: %(default)g)",
    )
    parser.add_argument(
        "--overlap",
        type=overlap,
        default=OF_FILES["overlap"],
        metavar="S",
        help="overlap of neighbouring chunks without a pause between them (default: %(default)g)",
    )
    parser.add_argument(
        "--vad",
        choices=VADS,
        default=OF_FILES["vad"],
        help="cut audio longer than a chunk at pauses and skip silence. Pauses are found by the "
        "energy of frames or by silero's network (pip install 'encore-asr[vad]'); none: all "
        "chunks overlap (default: %(default)s)",
    )
    parser.add_argument(
        "--no-vad", dest="vad", action="store_const", const="none", help="the same as --vad none"
    )
    parser.add_argument(
        "--silence",
        type=level_or_off,
        default=OF_FILES["silence"],
        metavar="DB",
        help="chunks below this level, in dB of full scale, and steady noise up to 30 dB above it "
        "have no words; off: decode every chunk (default: %(default)g)",
    )
    parser.add_argument(
        "--num-threads",
        type=threads,
        metavar="N",
        help="CPU threads, each with its own batch (default: one per core)",
    )


def audio_path(word: str) -> Path:
    """Parse a path; ``-`` is standard input."""
    return STDIN if word == "-" else Path(word)


def recordings(args: argparse.Namespace) -> list[Recording]:
    """Return the recordings of the arguments, in order, without those to skip.

    Raises:
        InputError: there are none, a list or a folder cannot be read, options contradict each
            other, or the transcripts of two recordings would have the same path.
    """
    if args.out is not None and args.beside:
        raise InputError("--out and --beside: give one of them")
    if args.skip_existing and args.out is None and not args.beside:
        raise InputError("--skip-existing needs --out DIR or --beside")
    named = [*args.files, *(_listed(args.list) if args.list is not None else ())]
    if not named:
        raise InputError("no recording named; give files, folders or --list FILE")
    found = [one for path in named for one in _in(path, recursive=args.recursive)]
    if not found:
        endings = (
            "with --recursive those in its folders, too" if not args.recursive else "any depth"
        )
        raise InputError(f"{printable(named[0])}: is a folder without an audio file ({endings})")
    if args.shards is None:
        _check_places(found, args)
    if args.skip_existing:
        return [one for one in found if not _is_written(one, args)]
    return found


def output_path(recording: Recording, args: argparse.Namespace) -> Path | None:
    """Return the path of its transcript; None if it is printed."""
    name = fitting_name(recording.path.stem, suffix(args.format))
    if args.beside:
        return recording.path.parent / name
    return None if args.out is None else Path(args.out) / recording.place.parent / name


def _listed(path: Path) -> Iterator[Path]:
    if path == STDIN:
        lines = (line.rstrip("\r\n") for line in sys.stdin)
        yield from (Path(line) for line in lines if line.strip())
    else:
        yield from (Path(text.strip()).expanduser() for _, text in read_lines(path))


def _in(path: Path, *, recursive: bool) -> list[Recording]:
    """Return the recordings of a file, manifest or folder; in a folder by extension, sorted."""
    if path.name.endswith(_MANIFESTS):
        return _of_manifest(path)
    if not path.is_dir():
        return [Recording(path, Path(path.name))]
    try:
        inside = sorted(path.rglob("*") if recursive else path.iterdir())
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    return [
        Recording(one, one.relative_to(path))
        for one in inside
        if one.suffix.lower() in AUDIO_SUFFIXES and one.is_file()
    ]


def _of_manifest(path: Path) -> list[Recording]:
    """Return the files of a manifest, each once and whole."""
    from asr.data.manifest import read_manifest

    ends_s: dict[Path, float] = {}
    for one in read_manifest(path):
        ends_s[one.audio_path] = max(ends_s.get(one.audio_path, 0.0), one.start_s + one.duration_s)
    return [Recording(audio, Path(audio.name), end_s) for audio, end_s in ends_s.items()]


def _is_written(recording: Recording, args: argparse.Namespace) -> bool:
    path = output_path(recording, args)
    return path is not None and path.exists()


def _check_places(found: Sequence[Recording], args: argparse.Namespace) -> None:
    """Raise InputError if the transcripts of two files would have the same path."""
    if args.out is None and not args.beside:
        if len(found) > 1 and not FORMATS[args.format].is_line_by_line:
            raise InputError(
                f"--format {args.format} of several files needs --out DIR, for a file each"
            )
        return
    if args.out is not None:
        check_folder(args.out)
    first: dict[Path, Recording] = {}
    for recording in found:
        place = output_path(recording, args)
        assert place is not None
        other = first.setdefault(place, recording)
        if other is not recording:
            raise InputError(
                f"--out {place.parent}: {printable(other.path)} and {printable(recording.path)} "
                f"would both be written to {printable(place.name)}; transcribe them one after the "
                "other, into other folders"
            )
