"""The archives of LibriSpeech (openslr.org/12) and Mini LibriSpeech (openslr.org/31).

Panayotov, Chen, Povey and Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio
books", ICASSP 2015; CC BY 4.0. Sums are those of the md5sum.txt beside the archives; sums and sizes
were read in public repositories that quote them, two or more for each, not from openslr.org itself.
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
    """``<part>.tar.gz``: its size and its MD5 sum."""

    part: str
    num_bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Archives of a resource of openslr.org; ``usual_parts`` are taken unless others are named."""

    name: str
    resource: int
    parts: Mapping[str, Archive]
    usual_parts: tuple[str, ...]


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
