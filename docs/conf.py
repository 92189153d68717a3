"""The documentation as a site: `make docs` builds it into build/site, with all that it needs to be read."""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "dibench"
author = "the dibench authors"
project_copyright = author
release = version = installed("dibench")
extensions = ["myst_parser"]
myst_heading_anchors = 4
smartquotes = False  # `--batch` is no dash
html_theme = "furo"
html_title = "dibench"
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style, pygments_dark_style = "friendly", "monokai"

_OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./(?P<path>[^)\s#]+)(?:#[^)]*)?\)")


def outside_as_text(markdown: str) -> str:
    """A page with each link out of docs/, which the site lacks, as the name of a file in the repository.

    >>> outside_as_text("[the layer](../dibench/layer.py) and [`x.cpp`](../csrc/x.cpp), [here](energy.md)")
    'the layer (`dibench/layer.py`) and `csrc/x.cpp`, [here](energy.md)'
    """
    return _OUTSIDE.sub(_as_text, markdown)


def _as_text(link: re.Match[str]) -> str:
    text, path = link["text"], link["path"]
    return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"


def _read(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = outside_as_text(source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
