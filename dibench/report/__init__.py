"""The report: a sweep's table and manifest as one self-contained HTML page."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError
from dibench.schema import read_csv

if TYPE_CHECKING:
    import pandas as pd

    from dibench.report.sections import Study

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"


def write_report(directory: str | Path) -> Path:
    """Write `report.html` beside the `sweep.csv` (and `manifest.json`) of a sweep's directory.

    The page replaces an older one whole or not at all.

    Raises:
        UserError: the directory or its table is missing or cannot be read, or the page cannot be written.
    """
    from dibench.report.page import render

    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("DIR", "must be the directory of a sweep", str(directory))
    frame = read_csv(folder / TABLE)
    manifest = _read_manifest(folder / MANIFEST)
    files = [TABLE] if manifest is None else [TABLE, MANIFEST]
    html = render(frame, manifest, _study(frame), files)
    _replace(folder / PAGE, html.encode())
    return folder / PAGE


def _study(frame: pd.DataFrame) -> Study:
    from dibench.report.sections import Study
    from dibench.study import fit

    try:
        found = fit(frame)
    except UserError as error:
        return Study(why_not=str(error))
    figures, check = found.to_json(), found.pipeline_check
    checked = Study(figures["pipeline_check"], check.to_frame()) if check else None
    return Study(figures, found.to_frame(), check=checked)


def _read_manifest(path: Path) -> Mapping[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except ValueError as error:
        raise UserError("", f"must be JSON: {error}", where=path) from None
    if not isinstance(data, dict):
        raise UserError("", "must be a JSON object", where=path)
    return data


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise UserError("", f"cannot be written: {error.strerror}", where=path) from None
