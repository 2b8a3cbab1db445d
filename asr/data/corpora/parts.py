"""Archives of LibriSpeech, Mini LibriSpeech, MUSAN, RIRs (openslr.org) and AN4: sizes, checksums.

Panayotov, Chen, Povey and Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio
books", ICASSP 2015; CC BY 4.0. Snyder, Chen and Povey, "MUSAN: A Music, Speech, and Noise Corpus",
arXiv:1510.08484; CC BY 4.0. Ko, Peddinti, Povey, Seltzer and Khudanpur, "A study on data
augmentation of reverberant speech for robust speech recognition", ICASSP 2017; Apache 2.0.

Acero, "Acoustical and Environmental Robustness in Automatic Speech Recognition", 1993, describes
AN4, the census recordings of Carnegie Mellon University; free for any use.

Checksums are those of the lists beside the archives. Checksums and sizes were read in public
repositories that quote them (checksums in two or more), not at openslr.org itself. AN4 has no such
list: its checksum is quoted in one repository, and its exact size nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MIRROR = "https://www.openslr.org/resources"
OTHER_MIRRORS = (
    "https://openslr.trmal.net/resources",
    "https://openslr.elda.org/resources",
    "https://openslr.magicdatatech.com/resources",
)


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive ``<part><suffix>``: size (None if unknown) and MD5 or SHA-256 sum."""

    part: str
    num_bytes: int | None
    checksum: str
    suffix: str = ".tar.gz"

    @property
    def file_name(self) -> str:
        """The name of the archive on the server."""
        return f"{self.part}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Archives of a resource of openslr.org; ``usual_parts`` are the default selection.

    ``resource`` is None for archives from elsewhere. ``unpacked_share`` is the unpacked size
    relative to the archives.
    """

    name: str
    resource: int | None
    parts: Mapping[str, Archive]
    usual_parts: tuple[str, ...]
    unpacked_share: float = 1.1  # FLAC hardly shrinks, and small files fill whole blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """A corpus without words: one archive that unpacks to the folder ``root``.

    ``patterns`` select the files of each part below ``root``; each part gets a manifest.
    """

    corpus: Corpus
    root: str
    patterns: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the corpus for `asr prepare`."""
        return self.corpus.name


def _corpus(name: str, resource: int, usual: tuple[str, ...], *archives: Archive) -> Corpus:
    return Corpus(name, resource, {archive.part: archive for archive in archives}, usual)


CORPORA: Mapping[str, Corpus] = {
    "librispeech": _corpus(
        "librispeech",
        12,
        ("train-clean-100", "dev-clean", "dev-other", "test-clean", "test-other"),
        Archive("train-clean-100", 6_387_309_499, "2a93770f6d5c6c964bc36631d331a522"),
        Archive("train-clean-360", 23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa"),
        Archive("train-other-500", 30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708"),
        Archive("dev-clean", 337_926_286, "42e2234ba48799c1f50f24a7926300a1"),
        Archive("dev-other", 314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931"),
        Archive("test-clean", 346_663_984, "32fa31d27d2e1cad72775fee3f4849a9"),
        Archive("test-other", 328_757_843, "fb5a50374b501bb3bac4815ee91d3135"),
    ),
    "mini_librispeech": _corpus(
        "mini_librispeech",
        31,
        ("train-clean-5", "dev-clean-2"),
        Archive("train-clean-5", 332_954_390, "5df7d4e78065366204ca6845bb08f490"),
        Archive("dev-clean-2", 126_046_265, "6d7ab67ac6a1d2c993d050e16d61080d"),
    ),
}

_MUSAN = Archive("musan", 11_086_114_085, "0c472d4fc0c5141eca47ad1ffeb2a7df")
_RIRS = Archive("rirs_noises", 1_311_166_223, "e6f48e257286e05de56413b4779d8ffb", ".zip")

SOUNDS: Mapping[str, Sounds] = {
    "musan": Sounds(
        corpus=Corpus("musan", 17, {"musan": _MUSAN}, ("musan",), unpacked_share=1.2),
        root="musan",
        patterns={
            "music": "music/**/*.wav",
            "noise": "noise/**/*.wav",
            "speech": "speech/**/*.wav",
        },
    ),
    "rirs": Sounds(
        # 60,000 short files: a generous guess of an unpacked size that was not measured
        corpus=Corpus("rirs", 28, {"rirs_noises": _RIRS}, ("rirs_noises",), unpacked_share=4.0),
        root="RIRS_NOISES",
        patterns={
            "simulated": "simulated_rirs/**/*.wav",
            "real": "real_rirs_isotropic_noises/*rir*.wav",
            "isotropic-noise": "real_rirs_isotropic_noises/*noise*.wav",
            "point-noise": "pointsource_noises/**/*.wav",
        },
    ),
}
"""Noises to add to speech, and room impulse responses to convolve it with."""

AN4_MIRROR = "https://dldata-public.s3.us-east-2.amazonaws.com"
"""NVIDIA's copy; the origin has been unreachable for years at a time."""
AN4_OTHER_MIRRORS = (
    "http://www.speech.cs.cmu.edu/databases/an4",
    "https://huggingface.co/datasets/espnet/an4/resolve/main",
)
AN4 = Corpus(
    "an4",
    None,
    {
        "an4_sphere": Archive(
            "an4_sphere", None, "a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12"
        )
    },
    ("an4_sphere",),
    unpacked_share=1.7,
)
