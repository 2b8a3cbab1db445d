"""The page in a real browser, where Chromium is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asr.report.pages.comparison import comparison_page
from tests.report.comparisons import LONG, differences_of, many_records

CHROMIUM = shutil.which("chromium")
OFFLINE = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

MEASURE = r"""
console.log("measuring");
for (const panel of document.querySelectorAll(".panel")) panel.style.display = "block";
const touching = [];
for (const svg of document.querySelectorAll("figure svg")) {
  const texts = [...svg.querySelectorAll("text")]
    .map((text) => [text.textContent, text.getBoundingClientRect()]);
  const frame = svg.getBoundingClientRect();
  texts.forEach(([text, box], index) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 1 || box.bottom > frame.bottom + 1) touching.push([text, "frame"]);
    for (const [other, there] of texts.slice(index + 1))
      if (Math.min(box.right, there.right) - Math.max(box.left, there.left) > 1 &&
          Math.min(box.bottom, there.bottom) - Math.max(box.top, there.top) > 3)
        touching.push([text, other]);
  });
}
const table = document.querySelector(".sortable");
const order = () => [...table.querySelectorAll("tbody th")].map((c) => c.textContent);
const heads = [...table.querySelectorAll("thead button")];
const latency = heads.find((button) => button.textContent.includes("15 s: ms"));
const orders = [order()];
latency.click(); orders.push(order());
latency.click(); orders.push(order());
const frame = table.parentElement;
const scrolls = frame.scrollWidth > frame.clientWidth;
const wide = document.documentElement.scrollWidth > window.innerWidth;
document.body.style.width = "400px";
const narrow = document.body.scrollWidth <= 400;
const word = document.createRange();
const cut = [...document.querySelectorAll("thead th")].filter((cell) => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const found of texts.currentNode.data.matchAll(/\S+/g)) {
      word.setStart(texts.currentNode, found.index);
      word.setEnd(texts.currentNode, found.index + found[0].length);
      const lines = new Set([...word.getClientRects()].map((box) => box.top));
      if (lines.size > 1 && found[0].length < 20) return true;
    }
  return false;
}).map((cell) => cell.textContent);
document.body.dataset.measured = JSON.stringify({touching, orders, wide, narrow, scrolls, cut});
"""


def opened(path: Path, tmp_path: Path) -> tuple[str, list[str]]:
    """The page's elements after its scripts ran, and the lines on the console."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *OFFLINE, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,1000",
         "--enable-logging=stderr", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measured(written: str, tmp_path: Path) -> dict[str, Any]:
    """What `MEASURE` finds in the page, let in past the security policy."""
    written = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", written)
    path = tmp_path / "measured.html"
    path.write_text(written.replace("</body>", f"<script>{MEASURE}</script></body>"))
    dom, console = opened(path, tmp_path)
    assert len(console) == 1, console
    assert "measuring" in console[0]  # so the console is heard
    found = re.search(r'data-measured="([^"]*)"', dom)
    assert found is not None
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


def test_the_page_opens_without_an_error_and_shows_every_row(tmp_path: Path) -> None:
    records = many_records(4, "<script>alert(1)</script>")
    path = tmp_path / "report.html"
    path.write_text(comparison_page(records, differences_of(records)), encoding="utf-8")
    dom, console = opened(path, tmp_path)
    assert console == []
    table = dom[dom.index("<tbody>") : dom.index("</tbody>")]
    assert table.count("<tr>") == 4
    charts = re.findall(r'<figure class="trade-off">.*?</figure>', dom, re.DOTALL)
    assert [len(re.findall('class="point"', chart)) for chart in charts] == [4, 4]
    charts = re.findall(r'<figure class="training-step">.*?</figure>', dom, re.DOTALL)
    assert [len(re.findall('class="segment"', chart)) for chart in charts] == [4, 4]
    assert "<button" in dom  # its own script ran
    assert dom.count("<script>") == 1


@pytest.mark.parametrize("num_runs", [1, 5])
def test_texts_keep_clear_of_each_other_and_rows_sort(num_runs: int, tmp_path: Path) -> None:
    records = many_records(num_runs, LONG)
    result = measured(comparison_page(records, differences_of(records)), tmp_path)
    assert result["touching"] == []
    assert not result["wide"]
    assert result["narrow"]  # as on a telephone: nothing but tables and charts scrolls sideways
    assert result["cut"] == []  # no heading is broken within a word
    assert not result["scrolls"]  # speed-ups are seen without scrolling
    names = [record.run for record in records]  # slowest first
    assert result["orders"] == [names, names[::-1], names]
