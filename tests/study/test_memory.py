"""What a row of a table takes in memory, so that a million of them fit; figures: docs/benchmarks.md."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from fake_backend import row

from dibench import table
from dibench.importing import Mapping, convert
from dibench.study.ladder.models import data_of
from dibench.study.table.columns import STUDIED
from dibench.study.table.rows import select
from dibench.study.use.compare import compare
from dibench.study.use.compare_rows import COLUMNS
from dibench.table import HEADER, line_of, load, read_csv

SMALL, LARGE = 1_000, 3_000


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Of both sizes; a block, which is read as text at once, is small beside them."""
    monkeypatch.setattr(table, "BLOCK", 250)
    one = attrs.evolve(row(), time_ci_s=0.001, name="resnet50/layer1.0.conv2", knobs="taps=3;cold=1")
    paths = [tmp_path / f"{rows}.csv" for rows in (SMALL, LARGE)]
    for rows, path in zip((SMALL, LARGE), paths, strict=True):
        with path.open("wb") as file:
            file.write(HEADER)
            for number in range(rows):
                own: dict[str, Any] = {"case_id": f"case{number}", "order": number}
                file.write(line_of(attrs.evolve(one, time_s=0.1 + number * 1e-7, **own)))
    return paths


def bytes_a_row(tables: list[Path], work: Callable[[Path], object]) -> float:
    """How much more memory is taken at most, for each further row."""
    work(tables[0])  # what is imported and kept at the first call is no row's
    peaks = []
    for path in tables:
        tracemalloc.start()
        work(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (LARGE - SMALL)


def test_a_row_of_a_loaded_table(tables: list[Path]) -> None:
    assert bytes_a_row(tables, load) < 1_200


def test_a_row_of_an_imported_table(tables: list[Path]) -> None:
    def imported(path: Path) -> object:
        return sum(map(len, convert(path, Mapping()).lines()))

    assert bytes_a_row(tables, imported) < 1_600


def test_a_row_of_a_fit(tables: list[Path]) -> None:
    """Of the table, the rows that are chosen, and the arrays that the models see."""

    def fitted(path: Path) -> object:
        chosen = select(read_csv(path, STUDIED), every_kernel=True)
        return data_of(chosen.frame, chosen.response, chosen.repeats)

    assert bytes_a_row(tables, fitted) < 2_600


def test_a_row_of_both_sides_of_a_comparison(tables: list[Path]) -> None:
    def compared(path: Path) -> object:
        return compare(*[read_csv(path, COLUMNS) for _ in "ab"])

    assert bytes_a_row(tables, compared) < 1_600
