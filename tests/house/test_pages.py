"""Pages tell the truth: links and paths exist, and what scripts write is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

ROOT = Path(__file__).parents[2]


def is_up_to_date(written: Path, page: str) -> None:
    assert written.read_text("utf-8") == (ROOT / page).read_text("utf-8"), (
        "run `make docs` and look at the change"
    )


@pytest.mark.parametrize(
    ("script", "page"),
    [("draw_architecture.py", "docs/figures/architecture.svg"), ("write_api.py", "docs/api.md")],
)
def test_a_page_is_what_its_script_writes_now(script: str, page: str, tmp_path: Path) -> None:
    written = tmp_path / "page"
    command = [sys.executable, str(ROOT / "scripts" / script), str(written)]
    subprocess.run(command, check=True, env=environment())
    is_up_to_date(written, page)


def test_the_reference_is_what_the_code_says_now(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/write_reference.py"), str(tmp_path)]
    subprocess.run(command, check=True, env=environment())
    written = sorted(tmp_path.iterdir())
    assert [page.name for page in written] == ["columns.md", "plans.md", "terms.md", "verbs.md"]
    for page in written:
        is_up_to_date(page, f"docs/{page.name}")


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Sphinx checks the links between pages and to headings; a warning is an error."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in ROOT.glob("docs/*.md")} <= pages
    assert (tmp_path / "_static" / "site.css").read_text("utf-8") == (ROOT / "docs/site.css").read_text(
        "utf-8"
    )
    for path in tmp_path.glob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]+)", path.read_text("utf-8")
        )
        assert [link for link in loaded if "://" in link or link.startswith("//")] == []


PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "csrc/**/*.md", "examples/*.md", "results/*.md")
    for path in ROOT.glob(pattern)
)


def test_the_front_door_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8")) <= 7000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link}
    assert not [link for link in links if not (page.parent / link).exists()]
    roots = "benchmarks|csrc|dibench|docs|examples|scripts|tests"
    paths = set(re.findall(rf"`((?:{roots})/[\w./*-]+)`", text))
    assert not [path for path in paths if not list(ROOT.glob(path.rstrip("/"))) and "<" not in path]
