"""The report in a real browser: on a phone and a desk, in light and dark; and that flaws would be seen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import attrs
import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE, DESK = 360, 1280
THEMES = ("light", "dark")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium"),
]

FIGURES = {
    "processor": {
        "time-ai", "energy-ai", "reuse-shapes", "reuse-kernels", "reuse-cost", "roofline", "stationarity",
        "predicted-ai", "predicted-di-weighted", "residuals", "choices",
    },
    "campaign": {
        "alpha", "choices", "energy-ai", "energy-di-weighted", "energy-di-disjoint", "reuse-shapes",
        "reuse-kernels", "reuse-cost", "roofline", "energy-roofline", "predicted-ai", "predicted-di-weighted",
        "residuals",
        "twins-standard", "twins-grouped", "twins-pointwise", "twins-fc", "lattice-1", "lattice-2",
        "ranking", "held-out", "cost-resnet50", "cost-mobilenet-v2", "cost-compared",
        "generality-networks", "generality-quantiles-networks", "generality-layers",
        "generality-quantiles-layers",
    },
    "cards": {
        "alpha", "energy-ai", "energy-roofline", "residuals",
        *(f"{name}-{card}" for card in ("a-gpu-gpu-1", "another-gpu-gpu-2") for name in (
            "choices", "twins-standard", "twins-grouped", "twins-pointwise", "twins-fc", "lattice-1",
            "lattice-2")),
    },
}  # fmt: skip
"""What each page must show."""

# Each page stands in a frame of its own width and theme; the probe writes what it finds into the host's DOM.
PROBE = """
<pre id="probe"></pre>
<script>
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
                       && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
const look = frame => {
  const page = frame.contentDocument, spilled = [], overlapping = [], seen = [], cut = [], small = [];
  for (const figure of page.querySelectorAll("figure")) {
    const svg = figure.querySelector("svg.panel");
    if (!svg) continue;
    const box = svg.getBoundingClientRect();
    if (box.width >= 100 && box.height >= 50) seen.push(figure.id);
    for (const text of svg.querySelectorAll("text")) {
      const shown = parseFloat(frame.contentWindow.getComputedStyle(text).fontSize) * svg.getScreenCTM().a;
      if (shown < 11.99) small.push(`${figure.id}: ${text.textContent} at ${shown.toFixed(1)} px`);
    }
    const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([said, own], index) => {
      const room = [own.left - box.left, box.right - own.right, own.top - box.top, box.bottom - own.bottom];
      if (Math.min(...room) < -3) spilled.push(figure.id + ": " + said);
      for (const [other, its] of texts.slice(index + 1))
        if (overlap(own, its)) overlapping.push(figure.id + ": " + said + " and " + other);
    });
  }
  for (const table of page.querySelectorAll(".table"))
    if (table.scrollWidth > table.clientWidth) cut.push(table.getAttribute("aria-label"));
  const style = frame.contentWindow.getComputedStyle(page.body);
  return {page: frame.title, theme: frame.style.colorScheme, inner: frame.contentWindow.innerWidth,
          scroll: page.documentElement.scrollWidth, spilled, overlapping, seen, cut, small,
          background: style.backgroundColor, ink: style.color};
};
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(look);
  document.getElementById("probe").textContent = JSON.stringify(found);
});
</script>
"""


# Press → twice on each figure of a page, then point at the mark where that led.
POINTING = """
<pre id="probe"></pre>
<script>
const read = svg => {
  const view = svg.ownerDocument.defaultView, said = svg.nextElementSibling;
  const ring = () => ["cx", "cy"].map(name => Number(svg.querySelector(".ring").getAttribute(name)));
  const right = () => svg.dispatchEvent(new view.KeyboardEvent("keydown", {key: "ArrowRight"}));
  right();
  const first = said.textContent;
  right();
  const second = said.textContent, [x, y] = ring();
  const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  svg.dispatchEvent(new view.PointerEvent("pointermove", {clientX: at.x, clientY: at.y}));
  const [toX, toY] = ring();
  return {name: svg.parentElement.id, tab: svg.tabIndex, first, second, moved: Math.hypot(toX - x, toY - y)};
};
addEventListener("load", () => {
  const pages = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument);
  const found = pages.map(page => [...page.querySelectorAll("svg.panel")].map(read));
  document.getElementById("probe").textContent = JSON.stringify(found);
});
</script>
"""


@attrs.frozen
class Look:
    """What the probe found in each frame, and what the browser wrote on its console."""

    frames: list[Any]
    console: list[str]


def look(
    pages: Mapping[str, str],
    directory: Path,
    widths: Sequence[int],
    themes: Sequence[str],
    probe: str = PROBE,
) -> Look:
    assert BROWSER is not None
    frames = "".join(
        f'<iframe title="{name}" width="{width}" height="900" style="color-scheme: {theme}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for (name, page), width, theme in product(pages.items(), widths, themes)
    )
    host = directory / "host.html"
    head = "<!doctype html><meta charset=utf-8><style>iframe{border:0}</style>"
    host.write_text(head + frames + probe, encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr",
            "--dump-dom", host.as_uri(),
        ],
        capture_output=True, encoding="utf-8", timeout=300, check=True,
    )  # fmt: skip
    match = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, "the probe did not run"
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Look(list(json.loads(html.unescape(match[1]))), console)


def faults(frame: dict[str, Any], figures: set[str]) -> list[str]:
    """What a reader would stumble on in one frame."""
    found = [f"missing: {name}" for name in sorted(figures - {one[7:] for one in frame["seen"]})]
    found += [f"spilled: {said}" for said in frame["spilled"]]
    found += [f"overlapping: {said}" for said in frame["overlapping"]]
    found += [f"too small: {said}" for said in frame["small"]]
    if frame["scroll"] > frame["inner"]:
        found.append(f"wider than the screen: {frame['scroll']}")
    # On a phone a wide table scrolls inside its frame; on a desk every table of figures is seen whole.
    if frame["inner"] == DESK:
        found += [f"cut: {name}" for name in frame["cut"] if not name.startswith("The layer")]
    background, ink = (
        sum(map(float, re.findall(r"[\d.]+", frame[what])[:3])) for what in ("background", "ink")
    )
    light, dark = (background, ink) if frame["theme"] == "light" else (ink, background)
    if not light > 600 > 200 > dark:
        found.append(f"not {frame['theme']}")
    return found


@pytest.fixture(scope="module")
def pages(
    report_of_a_processor: Path, report_of_a_campaign: Path, report_of_two_cards: Path
) -> dict[str, str]:
    found = zip(FIGURES, (report_of_a_processor, report_of_a_campaign, report_of_two_cards), strict=True)
    return {name: (folder / "report.html").read_text(encoding="utf-8") for name, folder in found}


def test_every_figure_is_seen_and_nothing_overflows(pages: dict[str, str], tmp_path: Path) -> None:
    found = look(pages, tmp_path, (PHONE, DESK), THEMES)
    assert found.console == []
    assert [frame["inner"] for frame in found.frames] == [PHONE, PHONE, DESK, DESK] * len(pages)
    for frame in found.frames:
        where = frame["page"], frame["inner"], frame["theme"]
        assert (where, faults(frame, FIGURES[frame["page"]])) == (where, [])


def test_between_a_phone_and_a_desk_figures_can_be_read_too(pages: dict[str, str], tmp_path: Path) -> None:
    """At widths where their columns are narrowest."""
    for frame in look(pages, tmp_path, (390, 770, 1095), ("light",)).frames:
        where = frame["page"], frame["inner"]
        assert (where, faults(frame, FIGURES[frame["page"]])) == (where, [])


def test_what_a_name_might_smuggle_in_neither_runs_nor_loads(pages: dict[str, str], tmp_path: Path) -> None:
    smuggled = (
        "<script>document.title = 'taken'; missing()</script>",
        '<p onclick="missing()"></p>',
        '<script>document.querySelector("p[onclick]").click()</script>',
        f'<img src="{tmp_path.as_uri()}/pixel.png">',
        "<style>main { display: none }</style>",
    )
    page = pages["campaign"].replace("<main>", "<main>" + "".join(smuggled))
    found = look({"campaign": page}, tmp_path, (DESK,), ("light",))
    refused = [line for line in found.console if "Content Security Policy" in line]
    assert len(refused) == len(found.console) == len(smuggled)
    assert faults(found.frames[0], FIGURES["campaign"]) == []


def unbound(page: str) -> str:
    """The page without its policy, which refuses what a test adds."""
    free, times = re.subn(r"<meta http-equiv=[^>]*>\n", "", page)
    assert times == 1
    return free


def test_each_figure_tells_its_marks_by_keys_and_by_pointer(pages: dict[str, str], tmp_path: Path) -> None:
    found = look(pages, tmp_path, (PHONE,), ("light",), POINTING)
    assert found.console == []
    for name, figures in zip(pages, found.frames, strict=True):
        assert {one["name"][7:] for one in figures} >= FIGURES[name]
        for one in figures:
            where = name, one["name"], one["first"], one["second"]
            assert one["tab"] == 0, where
            assert one["first"] and not one["first"].startswith("Point at") and one["moved"] < 0.5, where


def test_a_wider_font_than_ours_fits_too(pages: dict[str, str], tmp_path: Path) -> None:
    """Which font a reader has is not known when a figure is laid out."""
    wider = "<style>svg.panel text { letter-spacing: 0.045em }</style>"  # some 7% of a text's width
    widened = {name: unbound(page).replace("<main>", wider + "<main>") for name, page in pages.items()}
    for frame in look(widened, tmp_path, (PHONE, DESK), ("light",)).frames:
        assert (frame["page"], frame["inner"], frame["spilled"]) == (frame["page"], frame["inner"], [])


def test_a_page_with_a_flaw_would_be_found_out(pages: dict[str, str], tmp_path: Path) -> None:
    page = unbound(pages["campaign"])

    def without(pattern: str) -> str:
        flawed, times = re.subn(pattern, "", page, count=1, flags=re.DOTALL)
        assert times == 1
        return flawed

    def with_(markup: str) -> str:
        return page.replace("<main>", f"<main>{markup}")

    flawed = {
        "missing: twins-fc": without(r'<figure class="card[^"]*" id="figure-twins-fc".*?</figure>'),
        "missing: lattice-1": without(r'(?<=</figcaption>)<svg class="panel"[^>]*lattice-1.*?</svg>'),
        "missing: alpha": with_("<style>#figure-alpha svg { display: none }</style>"),
        "wider than the screen": with_('<div style="position: absolute; width: 3000px">x</div>'),
        "not light": with_("<style>:root { --page: #000 }</style>"),
        "too small": with_("<style>#figure-ranking svg { width: 250px !important }</style>"),
        "spilled": with_("<style>#figure-ranking text { font-size: 60px !important }</style>"),
        "overlapping": with_("<style>#figure-ranking text { font-size: 60px !important }</style>"),
        "nothing but on the console": with_("<script>missing()</script>"),
    }
    found = look(flawed, tmp_path, (DESK,), ("light",))
    assert len(found.console) == 1 and "missing is not defined" in found.console[0]
    for flaw, frame in zip(flawed, found.frames, strict=True):
        said = faults(frame, FIGURES["campaign"])
        assert any(one.startswith(flaw) for one in said) or (not said and "console" in flaw), (flaw, said)
