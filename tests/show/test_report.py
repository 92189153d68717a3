"""The report: one page that carries everything, says what it rests on, and shows the numbers of the fit."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pandas as pd
import pytest
from report_sweeps import HOSTILE, MANIFEST, rows, write

from dibench import schema
from dibench.cli import main
from dibench.errors import UserError
from dibench.numbers import interval, number
from dibench.report import write_report
from dibench.show import axes as report_axes
from dibench.study import fit
from dibench.study.findings.estimate import Alpha
from dibench.table import read_csv
from dibench.words import MODEL_NAMES

FIGURES = {
    "alpha",
    "time-ai",
    "time-di-weighted",
    "energy-ai",
    "reuse-shapes",
    "reuse-kernels",
    "reuse-cost",
    "roofline",
    "stationarity",
    "predicted-ai",
    "predicted-di-weighted",
    "residuals",
}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A parsed page: tags with attributes, visible text, figures and tables by caption."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "script" in self.open:
            return
        self.texts.append(data)
        if "caption" in self.open and "small" not in self.open:
            self._caption += data
        elif self.open and ("td" in self.open or "th" in self.open):
            self.tables[self._caption][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def table(self, caption: str) -> dict[str, list[str]]:
        """Cells by the heading of their row, of the table whose caption begins so."""
        (lines,) = [own for name, own in self.tables.items() if name.strip().startswith(caption)]
        return {line[0]: line[1:] for line in lines[1:]}


def report(directory: Path) -> Page:
    return Page(write_report(directory).read_text(encoding="utf-8"))


@attrs.frozen
class Example:
    page: Page
    figures: dict[str, Any]


@pytest.fixture(scope="module")
def modelled(report_of_a_processor: Path) -> Example:
    """The sweep of a processor, whose energy is modelled; one row failed."""
    page = Page((report_of_a_processor / "report.html").read_text(encoding="utf-8"))
    return Example(page, fit(read_csv(report_of_a_processor / "sweep.csv")).to_json())


@pytest.mark.slow
def test_it_stands_alone(modelled: Example) -> None:
    page = modelled.page
    assert not page.open
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert not {"img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        target = attributes.get("href", "#")
        assert target.startswith("#") or target in ("data:,", "sweep.csv", "manifest.json"), (tag, target)
    assert "@import" not in page.html
    assert set(re.findall(r"url\((.)", page.html)) == {"#"}


def test_what_is_in_doubt_stands_in_full_beside_the_verdict(tmp_path: Path) -> None:
    """The made-up joules are 40 W times time."""
    table = [row | {"caveats": "repeated_module"} for row in rows(60, source="rapl")]
    doubts = report(write(tmp_path, table)).table("What may pass for evidence")
    figure, text = doubts["time alone"]
    assert figure == "40.0 W in all rows to within 0.0%" and text.startswith(f"power is {figure}, where")
    assert doubts["repeated module"][1].startswith("12 rows called one module again and again")


def test_every_reference_inside_the_page_finds_its_one_target(modelled: Example) -> None:
    page = modelled.page
    assert len(page.ids) == len(set(page.ids))
    wanted = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page.html))
    wanted |= {ident for _, a in page.tags for ident in a.get("aria-labelledby", "").split()}
    assert len(wanted) > 50
    assert wanted <= set(page.ids)


def test_every_figure_is_there_with_a_title_and_a_description(modelled: Example) -> None:
    page = modelled.page
    figures = {attributes["id"] for tag, attributes in page.tags if tag == "figure"}
    assert {f"figure-{name}" for name in FIGURES} <= figures
    known = modelled.figures["alpha"]["disjoint"]["value"] is not None
    assert ("figure-time-di-disjoint" in figures) == known, "where its α is not known, it has no figure"
    drawings = [
        attributes for tag, attributes in page.tags if tag == "svg" and "panel" in attributes.get("class", "")
    ]
    assert len(drawings) == len(figures)
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] for drawing in drawings)
    assert page.html.count("<title id=") == page.html.count("<desc id=") == len(drawings)


def test_a_panel_has_one_mark_for_each_layer_of_the_fit(modelled: Example) -> None:
    html = modelled.page.html
    start = html.index('id="figure-time-ai"')
    panel = html[start : html.index("</figure>", start)]
    named = re.findall(r">(standard|depthwise|pointwise|grouped|fc)</text>", panel)
    assert len(named) == len(set(named)) == 5, "the legend has each operator once"
    assert panel.count("<use ") == modelled.figures["rows_used"] + len(named)
    (marks,) = re.findall(r' data-marks="([^"]*)"', panel)
    lines = marks.split("\n")
    assert len(lines) == modelled.figures["rows_used"]
    told = r"[\d.]+ [\d.]+ .+, (?:standard|depthwise|pointwise|grouped|fc): AI [\d.]+, [\d.]+ ps per MAC"
    assert all(re.fullmatch(told, line) for line in lines)


def test_colours_come_from_the_theme(modelled: Example) -> None:
    html = modelled.page.html
    drawings = "".join(re.findall(r'<svg class="panel".*?</svg>', html, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawings)
    used = set(re.findall(r"var\((--[a-z]+)\)", html))
    defined = set(re.findall(r"(--[a-z]+):", html))
    assert {"--standard", "--depthwise", "--pointwise", "--grouped", "--fc"} <= used <= defined


def test_modelled_energy_is_called_a_pipeline_check_before_any_number_of_it(modelled: Example) -> None:
    page = modelled.page
    text = page.text
    assert "Energy is modelled, not measured" in text
    assert text.index("not evidence") < text.index("energy per MAC")
    assert "measured time" in page.text[: text.index("energy per MAC")]


def test_names_from_the_table_are_text_not_markup(modelled: Example) -> None:
    assert f"{HOSTILE}/{HOSTILE}" in modelled.page.text
    assert modelled.page.text.count(HOSTILE) >= 3
    assert modelled.page.html.count("<script") == 1, "the page's own"


def test_no_cell_is_not_a_number(modelled: Example) -> None:
    assert not re.search(
        r"(?i)(?<![a-z])(nan|inf|none|<na>)(?![a-z-])", re.sub(r"none / |conv_none", "", modelled.page.text)
    )


def test_the_tables_show_the_numbers_of_the_fit(modelled: Example) -> None:
    figures = modelled.figures
    table = modelled.page.table("How well each description predicts time")
    for model, heading in (("macs", "MACs"), ("ai", "AI"), ("di_weighted", "DI weighted")):
        own = figures["models"][model]
        formats = {"r2": ".3f", "mape": ".1%", "pearson": ".3f", "spearman": ".3f"}
        expected = [number(own[name], spec) for name, spec in formats.items()]
        assert table[heading][:4] == expected
    for form, own in figures["alpha"].items():
        assert f"α {form} {interval(Alpha(**own))}" in modelled.page.text
    left_out = ", ".join(f"{rows} {reason}" for reason, rows in figures["excluded"].items())
    assert f"left out: {left_out}." in modelled.page.text


def test_it_tells_how_to_reproduce_it(modelled: Example) -> None:
    page = modelled.page
    assert "python -m dibench sweep default --out here" in page.text
    facts = page.table("The manifest")
    assert facts["plan.seed"] == ["7"]
    assert facts["sources_sha"] == [MANIFEST["sources_sha"]]
    assert facts["peaks.mac_per_s"] == ["130000000000.0"]


def test_the_method_describes_every_rung_of_the_ladder(modelled: Example) -> None:
    html = modelled.page.html
    method = html[html.index('id="method"') : html.index('id="reproduce"')]
    assert re.findall(r"<dt>(.*?)</dt>", method) == list(MODEL_NAMES.values())
    assert list(modelled.figures["models"]) == list(MODEL_NAMES)


@pytest.mark.slow
def test_rows_that_do_not_determine_alpha_show_none(tmp_path: Path) -> None:
    page = report(write(tmp_path, rows(20)))
    assert 'id="figure-alpha"' not in page.html
    assert "These rows do not determine α" in page.text


@pytest.mark.slow
def test_the_same_sweep_gives_the_same_page(tmp_path: Path) -> None:
    directory = write(tmp_path, rows(20))
    assert report(directory).html == report(directory).html


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "says"),
    [("simulated", "Simulated: a pipeline check, not evidence"), ("none", "Energy was not measured")],
)
def test_what_is_not_measured_is_said_first(tmp_path: Path, source: str, says: str) -> None:
    page = report(write(tmp_path, rows(40, source=source)))
    assert says in page.text
    assert page.text.index(says) < page.text.index("Verdict")


@pytest.mark.slow
def test_measured_energy_leads_and_needs_no_banner(tmp_path: Path) -> None:
    page = report(write(tmp_path, rows(150, source="rapl")))
    assert not [a for _, a in page.tags if a.get("class") == "banner"]
    assert "Does a MAC get cheaper in energy" in page.text
    assert "figure-energy-ai" in page.ids


def test_noise_is_the_first_thing_said_where_most_rows_are_disturbed(tmp_path: Path) -> None:
    table = rows(5, source="rapl")
    noisy = [row | {"status": "flagged", "reason": "interval ±30%"} for row in table[:3]] + table[3:]
    page = report(write(tmp_path / "noisy", noisy))
    said = page.text.index("Noise: most rows were disturbed")
    assert said < page.text.index("Rows") < page.text.index("Verdict")
    assert page.text.index("OMP_NUM_THREADS") < page.text.index("Verdict")
    quiet = report(write(tmp_path / "quiet", table[:1] + noisy[1:]))
    assert "Noise:" not in quiet.text


def test_a_table_is_as_good_as_its_directory(tmp_path: Path) -> None:
    directory = write(tmp_path / "d", rows(5, source="rapl"))
    page = write_report(directory)
    of_directory = page.read_text(encoding="utf-8")
    page.unlink()
    assert write_report(directory / "sweep.csv") == page
    assert page.read_text(encoding="utf-8") == of_directory
    other = (directory / "sweep.csv").rename(directory / "mine.csv")
    assert write_report(other) == directory / "mine-report.html"


@pytest.mark.slow
def test_one_operator_only(tmp_path: Path) -> None:
    page = report(write(tmp_path, rows(60, ops=["pointwise"], source="none")))
    assert {"figure-time-ai", "figure-reuse-shapes", "figure-roofline"} <= set(page.ids)
    assert "depthwise" not in page.table("What was measured, by operator")


@pytest.mark.slow
def test_the_least_a_table_may_have(tmp_path: Path) -> None:
    needed = ["time_s", *schema.REQUIRED]
    page = report(write(tmp_path, [{name: row[name] for name in needed} for row in rows(60)], manifest=None))
    assert "The manifest is missing" in page.text
    assert page.text.count("The manifest") == 1, "and no empty table of it"
    assert {"figure-time-ai", "figure-reuse-shapes", "figure-roofline"} <= set(page.ids)
    assert "figure-reuse-kernels" not in page.ids
    assert "no roof" in page.text


def test_a_sweep_without_a_usable_row_says_so(tmp_path: Path) -> None:
    table = [
        row | {"status": "failed", "time_s": None, "energy_j": None, "reason": "crashed"} for row in rows(5)
    ]
    page = report(write(tmp_path / "failed", table))
    assert "Nothing can be said yet." in page.text
    assert "5 failed" in page.text
    wide = [
        row | {f"{name[:-2]}_ci{name[-2:]}": 0.5 * row[name] for name in ("time_s", "energy_j")}
        for row in rows(5)
    ]
    told = report(write(tmp_path / "wide", wide)).text
    assert told.index("5 too wide") < told.index("measure longer (--case-budget)") < told.index("cheaper")
    directory = write(tmp_path / "empty", rows(1))
    csv = directory / "sweep.csv"
    csv.write_text(csv.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert "Nothing can be said yet." in report(directory).text


@pytest.mark.slow
def test_five_thousand_rows_stay_a_page(tmp_path: Path) -> None:
    page = report(write(tmp_path, rows(5000, source="none")))
    assert len(page.html.encode()) < 3_000_000
    assert "show an even selection of the 5,000 rows" in page.text


def test_it_says_the_answer_and_prints_the_page_as_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write(tmp_path / "a sweep", rows(20, source="none"))
    with pytest.raises(SystemExit) as exit_info:
        main(["report", str(directory)])
    assert exit_info.value.code == 0
    said, _, link = capsys.readouterr().out.partition("\n\n")
    assert link == f"Page: {(directory / 'report.html').as_uri()}\n"
    assert re.search(r"(?s)^.+\nHow sure: it rests on .+\nNext: ", said)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "CSV: must be a table, or the directory of a sweep"),
        ({}, "sweep.csv: no such file"),
        ({"sweep.csv": ""}, "sweep.csv: is empty"),
        ({"sweep.csv": "op,status\nfc,ok\n"}, "sweep.csv: header: must have the column"),
        ({"manifest.json": "{"}, "manifest.json: is not JSON"),
        ({"manifest.json": "[1]"}, "manifest.json: must be a JSON object"),
        ({"manifest.json": b"\xff\xfe"}, "manifest.json: is not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    tmp_path: Path, files: dict[str, str | bytes] | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    if files is not None:
        if "sweep.csv" not in files and files:
            write(directory, rows(5))
        directory.mkdir(exist_ok=True)
        for name, content in files.items():
            (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as exit_info:
        main(["report", str(directory)])
    error = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert says in error
    assert error.count("\n") == 1
    assert not (directory / "report.html").exists()


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = write(tmp_path, rows(20, source="none"))
    (directory / "report.html").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(directory)
    assert {path.name for path in directory.iterdir()} == {"sweep.csv", "manifest.json", "report.html"}


def test_thinned_points_keep_every_operators_ends() -> None:
    frame = pd.DataFrame({"op": ["fc"] * 3000 + ["grouped"] * 30, "x": range(1, 3031), "y": 1.0})
    kept = report_axes.thin(frame, "x", "y", limit=100)
    assert len(kept) <= 102
    assert {1, 3000, 3001, 3030} <= set(kept["x"])


@pytest.mark.slow
def test_a_manifest_of_odd_values_is_shown_as_text(tmp_path: Path) -> None:
    odd = {
        "device": HOSTILE,
        "peaks": {"mac_per_s": "fast", "bytes_per_s": None},
        "plan": None,
        "command_line": HOSTILE,
    }
    page = report(write(tmp_path, rows(20, source="none"), json.loads(json.dumps(odd))))
    assert HOSTILE in page.text
    assert page.html.count("<script") == 1, "the page's own"
    assert "No peaks of this machine were recorded" in page.text


@pytest.mark.slow
def test_a_roof_that_kernels_beat_is_said_to_be_wrong(tmp_path: Path) -> None:
    peaks = {"mac_per_s": 2e10, "bytes_per_s": 1.9e10}
    page = report(write(tmp_path, rows(40, source="none"), {**MANIFEST, "peaks": peaks}))
    assert "This roof is wrong" in page.text and "Shares of it are not shown" in page.text
    shares = [cells[4:6] for cells in page.table("What was measured, by operator").values()]
    assert {cell for own in shares for cell in own} == {"–"}


@pytest.mark.slow
def test_figures_are_written_as_files_that_stand_alone(tmp_path: Path) -> None:
    directory, figures = write(tmp_path / "sweep", rows(40, ops=["pointwise"])), tmp_path / "figures"
    page = Page(write_report(directory, figures=figures).read_text(encoding="utf-8"))
    names = {path.stem for path in figures.glob("*.svg")}
    assert names == {ident.removeprefix("figure-") for ident in page.ids if ident.startswith("figure-")}
    for path in figures.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used and all(text.count(f"{name}:") >= 1 for name in used), "colours come along"
        assert "prefers-color-scheme: dark" in text
        for theme in ("light", "dark"):
            assert (figures / f"{path.stem}-{theme}.png").read_bytes().startswith(b"\x89PNG")
