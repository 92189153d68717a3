"""Pages tell the truth: links and paths in them exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
