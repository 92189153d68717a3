"""Layer tables: CSV files with a name and the sixteen dimensions, as `layers MODEL --csv` writes them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.models.model import unique_names

NEEDED = ("name", "N", "C", "H", "W", "K", "R", "S")
MOST_BYTES = 64 * 2**20


def read_table(path: Path) -> tuple[Layer, ...]:
    """The layers of a CSV table. Dimensions without a column have their defaults; other columns are ignored.

    Raises:
        UserError: the file cannot be read, or a row makes no layer; the message names file, line, column and
        rule.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError("", f"must have at most {MOST_BYTES >> 20} MB", where=path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("", f"is not a CSV file in UTF-8: {error}", where=path) from None
    header = rows[0] if rows else []
    for column in NEEDED:
        if header.count(column) != 1:
            raise UserError("header", f"must have the column {column} once", ",".join(header), where=path)
    if len(rows) < 2:
        raise UserError("", "must have at least one layer", where=path)
    layers = [_layer(path, line, header, row) for line, row in enumerate(rows[1:], start=2)]
    # `layers --csv` writes model/layer; from here on the file's name stands for the model.
    nodes = [layer.name.rpartition("/")[2] for layer in layers]
    names = unique_names(path.stem, nodes)
    return tuple(layer.renamed(name) for layer, name in zip(layers, names, strict=True))


def _layer(path: Path, line: int, header: list[str], row: list[str]) -> Layer:
    where = f"{path} line {line}"
    if len(row) != len(header):
        raise UserError("", f"must have {len(header)} cells", len(row), where=where)
    cells = dict(zip(header, row, strict=True))
    values = {}
    for dimension in DIMENSIONS:
        cell = cells.get(dimension, "").strip()
        if cell and not re.fullmatch(r"-?[0-9]{1,12}", cell):
            raise UserError(dimension, "must be a whole number", cell, where=where)
        if cell:
            values[dimension] = int(cell)
    try:
        return Layer.from_dims(values, name=cells["name"])
    except UserError as error:
        raise UserError("", str(error), where=where) from None
