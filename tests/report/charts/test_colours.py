"""Colours that readers with a colour vision deficiency can tell apart."""

import itertools
import re
from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.report.charts.style import HUES, PART_COLOURS, VARIABLES

Colour = NDArray[np.float64]

# Linear RGB as seen without one kind of cone: Machado, Oliveira, Fernandes 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]),
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
STYLE = resources.files("asr.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
LIGHT, DARK = STYLE.partition("@media screen")[::2]
THEMES = {"light": LIGHT, "dark": DARK}


def linear(code: str) -> Colour:
    share = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: Colour) -> Colour:
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def palette(theme: str, kind: str) -> list[str]:
    return re.findall(rf"--{kind}\d: (#[0-9a-f]{{6}})", THEMES[theme])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("kind", "size"), [("hue", len(HUES)), ("part", len(PART_COLOURS))])
def test_colours_differ_to_every_reader(kind: str, size: int, theme: str, vision: str) -> None:
    codes = palette(theme, kind)
    assert len(codes) == size
    seen = {code: lab(VISION[vision] @ linear(code)) for code in codes}
    for one, other in itertools.combinations(codes, 2):
        distance = float(np.linalg.norm(seen[one] - seen[other]))
        assert distance > 15, (one, other, distance)


@pytest.mark.parametrize("theme", THEMES)
def test_lines_stand_out_from_the_paper(theme: str) -> None:
    (paper,) = re.findall(r"--paper: (#[0-9a-f]{6})", THEMES[theme])
    for code in palette(theme, "hue"):
        low, high = sorted(float(TO_XYZ[1] @ linear(c)) for c in (paper, code))
        assert (high + 0.05) / (low + 0.05) >= 2.7, code


def test_every_colour_of_a_chart_is_a_variable_of_the_page() -> None:
    for theme in THEMES.values():
        assert set(VARIABLES.values()) <= set(re.findall(r"(--\w+): #", theme))
