"""Pages tell the truth: links and paths exist, and what scripts write is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "page"),
    [("draw_architecture.py", "docs/figures/architecture.svg"), ("write_api.py", "docs/api.md")],
)
def test_a_page_is_what_its_script_writes_now(script: str, page: str, tmp_path: Path) -> None:
    written = tmp_path / "page"
    command = [sys.executable, str(ROOT / "scripts" / script), str(written)]
    subprocess.run(command, check=True, env=environment())
    assert written.read_text("utf-8") == (ROOT / page).read_text("utf-8"), (
        "run `make docs` and look at the change"
    )


PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "csrc/**/*.md", "examples/*.md", "results/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link}
    assert not [link for link in links if not (page.parent / link).exists()]
    roots = "benchmarks|csrc|dibench|docs|examples|scripts|tests"
    paths = set(re.findall(rf"`((?:{roots})/[\w./*-]+)`", text))
    assert not [path for path in paths if not list(ROOT.glob(path.rstrip("/"))) and "<" not in path]
