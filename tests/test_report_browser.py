"""The report in a real browser, at the widths of a phone and a desk, in light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_sweeps import rows, write
from study_frames import distinct_layers, energy_of, table

from dibench.report import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (360, 1280)

# The page stands in a frame of each width; the probe writes what it finds into the host's DOM.
PROBE = """
<pre id="probe"></pre>
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, spilled = [], tiny = [], cut = [];
    for (const svg of page.querySelectorAll("svg.panel")) {
      const box = svg.getBoundingClientRect();
      if (box.width < 100 || box.height < 50) tiny.push(svg.getAttribute("aria-labelledby"));
      for (const text of svg.querySelectorAll("text")) {
        const own = text.getBoundingClientRect();
        const x = [own.left - box.left, box.right - own.right];
        const y = [own.top - box.top, box.bottom - own.bottom];
        if (Math.min(...x, ...y) < -3) spilled.push(text.textContent);
      }
    }
    for (const table of page.querySelectorAll(".table"))
      if (table.scrollWidth > table.clientWidth) cut.push(table.getAttribute("aria-label"));
    const style = frame.contentWindow.getComputedStyle(page.body);
    return {inner: frame.contentWindow.innerWidth, scroll: root.scrollWidth, spilled, tiny, cut,
            panels: page.querySelectorAll("svg.panel").length,
            background: style.backgroundColor, ink: style.color};
  });
  document.getElementById("probe").textContent = JSON.stringify(found);
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    table = rows(200)
    table[0]["name"] = "a_network_with_a_long_name/" + "a_layer_name_without_any_space_to_break_at" * 3
    return write_report(write(tmp_path_factory.mktemp("browser"), table)).read_text(encoding="utf-8")


def probe(page: str, directory: Path, *flags: str) -> list[dict[str, Any]]:
    """What the probe found in each frame; fails on any message on the browser's console."""
    assert BROWSER is not None
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>' for width in WIDTHS
    )
    host = directory / "host.html"
    host.write_text(f"<!doctype html><style>iframe{{border:0}}</style>{frames}{PROBE}", encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr", *flags, "--dump-dom",
            host.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    match = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, "the probe did not run"
    return list(json.loads(html.unescape(match[1])))


@pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
def test_nothing_overflows_on_a_phone_or_a_desk(page: str, tmp_path: Path) -> None:
    found = probe(page, tmp_path)
    assert [frame["inner"] for frame in found] == list(WIDTHS)
    for frame in found:
        assert frame["scroll"] <= frame["inner"]
        assert frame["panels"] >= 13
        assert frame["spilled"] == []
        assert frame["tiny"] == []
    # On a phone a wide table scrolls inside its frame; on a desk every table of figures is seen whole.
    assert [caption for caption in found[1]["cut"] if not caption.startswith("The layer")] == []


@pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
def test_it_is_light_by_day_and_dark_by_night(page: str, tmp_path: Path) -> None:
    def brightness(colour: str) -> float:
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3]))

    light = probe(page, tmp_path, "--blink-settings=preferredColorScheme=1")[1]
    dark = probe(page, tmp_path, "--blink-settings=preferredColorScheme=0")[1]
    assert brightness(light["background"]) > 600 > 200 > brightness(light["ink"])
    assert brightness(dark["background"]) < 200 < 600 < brightness(dark["ink"])


@pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
def test_the_figures_of_whole_networks_fit_too(tmp_path: Path) -> None:
    layers = distinct_layers()
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.05, seed=1), instances=1)
    frame["variant"] = "made_up"
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for name in ("energy-roofline", "ranking", "held-out", "generality-1"):
        assert f'id="figure-{name}"' in page, name
    for frame_found in probe(page, tmp_path):
        assert frame_found["scroll"] <= frame_found["inner"]
        assert frame_found["panels"] == page.count('<svg class="panel"')
        assert frame_found["spilled"] == []
        assert frame_found["tiny"] == []
