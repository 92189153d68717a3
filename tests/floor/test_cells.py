"""Tables as pandas, R and spreadsheets write them are read as they were meant, or refused with their line."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_sweeps import rows

from dibench.cells import open_table, parse_number, parse_whole
from dibench.errors import UserError
from dibench.schema import KINDS
from dibench.table import csv_line, format_value, read_csv, read_rows


def cells_of(path: Path) -> list[tuple[int, list[str]]]:
    with open_table(path) as lines:
        return [(1, lines.header), *lines.cells]


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    table = rows(25, source="rapl")
    table[3]["energy_j"] = table[4]["macs_executed"] = None
    return written(tmp_path / "ours.csv", table)


def written(path: Path, table: list[dict[str, Any]]) -> Path:
    lines = [list(table[0]), *([format_value(cell) for cell in row.values()] for row in table)]
    path.write_bytes(b"".join(map(csv_line, lines)))
    return path


def test_a_table_that_pandas_read_and_wrote_is_the_same_table(ours: Path, tmp_path: Path) -> None:
    """Whole numbers of columns with gaps become 32.0, an index becomes a column without a name."""
    before = read_csv(ours)
    again = tmp_path / "again.csv"
    for index in (False, True):
        for na_rep in ("", "NaN", "NA"):
            pd.read_csv(ours).to_csv(again, index=index, na_rep=na_rep)
            pd.testing.assert_frame_equal(known(read_csv(again)), known(before))
    assert "1.0" in again.read_text()
    read_csv(ours).to_csv(again)
    pd.testing.assert_frame_equal(known(read_csv(again)), known(before))
    assert [row.known() for row in read_rows(again)] == [row.known() for row in read_rows(ours)]


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of the contract; of an unknown one pandas may change the text."""
    return frame[[name for name in frame.columns if name in KINDS]]


def test_a_table_that_went_through_parquet_is_the_same_table(ours: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    before = read_csv(ours)
    for name, frame in {"pandas": pd.read_csv(ours), "dibench": before}.items():
        frame.to_parquet(tmp_path / name)
        pd.testing.assert_frame_equal(known(read_csv(tmp_path / name)), known(before))
    before.set_index("name").to_parquet(tmp_path / "indexed")
    assert list(read_csv(tmp_path / "indexed")["name"]) == list(before["name"])


def test_parquet_is_known_by_its_first_bytes_and_needs_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_bytes(b"PAR1 and nothing that follows")
    for module in ("pyarrow", "pyarrow.parquet", "fastparquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        UserError, match=r"t\.csv: is a Parquet file, which needs pyarrow: pip install pyarrow$"
    ):
        cells_of(tmp_path / "t.csv")


def test_a_damaged_parquet_file_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t").write_bytes(b"PAR1 and nothing that follows")
    with pytest.raises(UserError, match="is not a Parquet file that can be read") as caught:
        cells_of(tmp_path / "t")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n\n",
        lambda data: data.replace(b"\n", b"\n\n", 3).replace(b"\n\n", b"\n", 1),
        lambda data: data + b"," * data.split(b"\n")[0].count(b",") + b"\n",
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b",", b"\t"),
        lambda data: data.replace(b",", b";"),
        lambda data: data.replace(b",", b";").replace(b".", b","),
        lambda data: data.replace(b",", b", "),
        lambda data: data.replace(b"\n", b",\n"),
        lambda data: gzip.compress(data),
        lambda data: gzip.compress(b"\xef\xbb\xbf" + data.replace(b",", b"\t")),
    ],
    ids=[
        "blank last lines", "blank lines between", "last line of empty cells", "ends of Windows", "mark",
        "tabs", "semicolons", "semicolons and decimal commas", "blanks after commas", "a column without name",
        "gzip", "gzip of a mark and tabs",
    ],
)  # fmt: skip
def test_what_other_programs_write_is_the_same_table(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    table = rows(25, source="rapl")
    plain = [name for name in table[0] if not any(set(",;. ") & set(str(row[name])) for row in table)]
    kept = [name for name in table[0] if name in plain or isinstance(table[0][name], float)]
    ours = written(tmp_path / "ours.csv", [{name: row[name] for name in kept} for row in table])
    (tmp_path / "theirs.csv").write_bytes(change(ours.read_bytes()))
    before = read_csv(ours)
    assert {"time_s", "energy_j", "macs", "op"} <= set(before.columns)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "theirs.csv"), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,b\n1,"two\nlines"\n3,4\n', "line 2: must have no newline inside a cell"),
        (b'a,b\n1,2\n\n3,"open\n5,6\n', "line 4: is not a CSV file in UTF-8: unexpected end of data"),
        (b"a,b\n\n1,2,3\n4,5\n", "line 3: must have 2 cells as the header has (got 3)"),
        (b"a,b\n1,2\n3", "line 3: must have 2 cells as the header has, it is cut off (got 1)"),
        (b"a,b\n3\n1,2\n", "line 2: must have 2 cells as the header has (got 1)"),
        (b"a,b,a\n", "header: must name each column once (got 'a')"),
        (b"\na,b\n", "line 1: must be the header, it is blank"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-30], "is gzipped, and cut off or damaged"),
        (b"\x1f\x8b and no more", "is gzipped, and cut off or damaged"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        cells_of(tmp_path / "t.csv")
    assert str(caught.value).startswith(f"{tmp_path}/t.csv: {message}")


def test_a_header_of_many_columns_is_read_as_fast_as_it_is_long(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(50_000)]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n")
    began = time.process_time()
    with open_table(tmp_path / "t.csv") as lines:
        assert lines.header == names
    assert time.process_time() - began < 2.0  # one look at each; counting each among all took a minute


def test_rows_share_equal_cells_in_memory(tmp_path: Path) -> None:
    line = "resnet50/layer1.0.conv2,fast_pointwise,1234567,0.25\n"
    (tmp_path / "t.csv").write_text("name,variant,macs,time_s\n" + 3 * line)
    first, *rest = read_rows(tmp_path / "t.csv")
    for row in rest:
        assert (
            row == first and row.name is first.name and row.macs is first.macs and row.others is first.others
        )


def test_a_refusal_after_blank_lines_names_the_line_of_the_file(ours: Path) -> None:
    lines = ours.read_text().split("\n")
    lines[1:1] = ["", ""]
    lines[5] = lines[5].replace(",standard,", ",fc,")
    ours.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"line 6: op: must be standard for these dimensions"):
        read_csv(ours)


def test_a_line_that_a_killed_program_was_writing_is_left_out_only_where_asked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n3,4")
    assert cells_of(tmp_path / "t.csv") == [(1, ["a", "b"]), (2, ["1", "2"]), (3, ["3", "4"])]
    with open_table(tmp_path / "t.csv", whole=True) as lines:
        assert list(lines.cells) == [(2, ["1", "2"])]


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_whole_number_is_read_back_from_every_form_it_is_written_in(number: int) -> None:
    assert (
        parse_whole(str(number)) == parse_whole(f"{number}.0") == parse_whole(f"{number},00", ",") == number
    )
    if abs(number) < 2**53:
        assert parse_whole(repr(float(number))) == parse_whole(f"{number:.17e}") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_with_point_or_comma(number: float) -> None:
    assert parse_number(repr(number)) == parse_number(repr(number).replace(".", ","), ",") == number


@given(st.text(max_size=8) | st.from_regex(r"[0-9.,eE+_-]{1,10}", fullmatch=True))
def test_text_is_a_number_or_refused(text: str) -> None:
    for parse in (parse_whole, parse_number):
        for decimal in ".,":
            try:
                parse(text, decimal)
            except ValueError:
                continue
            assert text.isascii() and "_" not in text


@pytest.mark.parametrize(
    "text", ["1e999999999", "-1e-999999999", "1.234,5", "inf", "nan", "9" * 5000, "0x10"]
)
def test_what_is_no_whole_number_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError):
        parse_whole(text, ",")
