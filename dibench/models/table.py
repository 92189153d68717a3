"""Layer tables: CSV files with a name and the sixteen dimensions, as `layers MODEL --csv` writes them."""

from __future__ import annotations

from pathlib import Path

import attrs

from dibench.cells import MISSING, Lines, open_table, parse_whole
from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.models.model import unique_names

NEEDED = ("name", "N", "C", "H", "W", "K", "R", "S")
MOST_BYTES, MOST_LAYERS = 64 * 2**20, 2**20


def model_name(path: Path) -> str:
    """A table's file name without its endings.

    >>> model_name(Path("nets/mine.v2.csv.gz"))
    'mine.v2'
    """
    return Path(path.name.removesuffix(".gz")).stem


def read_table(path: Path) -> tuple[Layer, ...]:
    """The layers of a CSV table. Dimensions without a column have their defaults; other columns are ignored.

    Raises:
        UserError: the file cannot be read, or a row makes no layer; the message names file, line, column and
        rule.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise UserError("", f"must have at most {MOST_BYTES >> 20} MB", where=path)
    layers = []
    with open_table(path) as lines:
        for column in NEEDED:
            if column not in lines.header:
                raise UserError(
                    "header", f"must have the column {column}", ",".join(lines.header), where=path
                )
        for line, row in lines.cells:
            layers.append(_layer(lines, line, row))
            if len(layers) > MOST_LAYERS:
                raise UserError("", f"must have at most {MOST_LAYERS} layers", where=path)
    if not layers:
        raise UserError("", "must have at least one layer", where=path)
    # `layers --csv` writes model/layer; from here on the file's name stands for the model.
    nodes = [layer.name.rpartition("/")[2] for layer in layers]
    names = unique_names(model_name(path), nodes)
    return tuple(layer.renamed(name) for layer, name in zip(layers, names, strict=True))


def _layer(lines: Lines, line: int, row: list[str]) -> Layer:
    where = f"{lines.path} line {line}"
    cells = dict(zip(lines.header, row, strict=True))
    values = {}
    for dimension in DIMENSIONS:
        cell = cells.get(dimension, "").strip()
        if cell not in MISSING:
            try:
                values[dimension] = parse_whole(cell, lines.decimal)
            except ValueError:
                raise UserError(dimension, "must be a whole number", cell, where=where) from None
    turned = cells.get("transposed", "").strip()
    if turned not in ("", "0", "1"):
        raise UserError("transposed", "must be 1, 0 or empty", turned, where=where)
    try:
        layer = Layer.from_dims(values, name=cells["name"])
        return attrs.evolve(layer, transposed=True) if turned == "1" else layer
    except UserError as error:
        raise UserError("", str(error), where=where) from None
