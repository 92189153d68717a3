"""Reading the CSV contract: what is kept, and that each kind of bad file is refused in one clear line."""

from __future__ import annotations

import random
from pathlib import Path

import attrs
import pytest

from dibench import networks, schema
from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS, Layer
from dibench.plan import Case
from dibench.schema import Row
from dibench.table import HEADER as HEADER_LINE
from dibench.table import format_value, line_of, read_csv, read_rows

HEADER = ["name", "op", *DIMENSIONS, "dtype", "energy_source", "status", "time_s", "colour"]
ROW = dict(
    zip(
        HEADER,
        [
            "a/b",
            "standard",
            *["1", "4", "7", "7", "8", "3", "3", "5", "5", "1", "1", "0", "0", "1", "1", "1"],
            "float32",
            "none",
            "ok",
            "0.25",
            "red",
        ],
        strict=True,
    )
)


def write(path: Path, *rows: dict[str, str], header: list[str] = HEADER, end: str = "\n") -> Path:
    lines = [",".join(header), *(",".join(row[name] for name in header) for row in rows)]
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def test_a_small_table_of_anybodys_tool_is_read(tmp_path: Path) -> None:
    frame = read_csv(write(tmp_path / "a.csv", ROW, {**ROW, "time_s": "", "status": "failed"}))
    assert list(frame.columns) == HEADER
    assert frame["N"].dtype == "Int64"
    assert frame["time_s"][0] == 0.25
    assert frame["time_s"].isna().tolist() == [False, True]
    assert frame["colour"].tolist() == ["red", "red"]


def test_a_table_saved_by_a_spreadsheet_begins_with_a_mark_that_is_no_part_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ROW)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_csv(path).columns) == HEADER


def test_the_columns_are_those_of_the_contract_once_each() -> None:
    assert len(schema.NAMES) == len(set(schema.NAMES)) == 77 + 18
    assert schema.NAMES[:3] == ("case_id", "order", "sentinel")
    assert schema.NAMES[75:77] == ("status", "reason"), "further columns come after the contract's"
    assert set(schema.REQUIRED) <= set(schema.NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N": "one"}, "line 3: N: must be a whole number or empty (got 'one')"),
        ({"N": "1.5"}, "line 3: N: must be a whole number or empty (got '1.5')"),
        ({"N": "١"}, "line 3: N: must be a whole number or empty (got '١')"),
        ({"time_s": "０.5"}, "line 3: time_s: must be a finite number or empty (got '０.5')"),
        ({"N": "1_0"}, "line 3: N: must be a whole number or empty (got '1_0')"),
        ({"N": "9" * 30}, "line 3: N: must be a whole number or empty (got '" + "9" * 30 + "')"),
        ({"N": ""}, "line 3: N: must not be empty"),
        ({"time_s": "fast"}, "line 3: time_s: must be a finite number or empty (got 'fast')"),
        ({"N": "NaN"}, "line 3: N: must not be empty"),
        ({"N": "1e19"}, "line 3: N: must be a whole number or empty (got '1e19')"),
        ({"N": "0.5"}, "line 3: N: must be a whole number or empty (got '0.5')"),
        (
            {"op": "NA"},
            "line 3: op: must be one of standard, depthwise, pointwise, "
            "grouped, fc, anchor, network (got 'NA')",
        ),
        ({"time_s": "-inf"}, "line 3: time_s: must be a finite number or empty (got '-inf')"),
        (
            {"op": "conv"},
            "line 3: op: must be one of standard, depthwise, pointwise, "
            "grouped, fc, anchor, network (got 'conv')",
        ),
        ({"op": "fc"}, "line 3: op: must be standard for these dimensions (got 'fc')"),
        ({"status": ""}, "line 3: status: must be one of ok, flagged, failed, skipped (got '')"),
        *(
            (
                {"energy_source": wrong},
                "line 3: energy_source: must be one of nvml_counter, nvml_power, rapl, zeus, model, "
                "simulated, none, or external: and a sensor's name of 1 to 40 letters a-z, digits, _ - and . "
                f"(got '{wrong}')",
            )
            for wrong in (
                "",
                "ina3221",
                "external:",
                "external:INA3221",
                "external:a b",
                "external:" + 41 * "a",
            )
        ),
        ({"P": "4"}, "line 3: P: must be from 5 to 7 for these dimensions (got 4)"),
    ],
)
def test_a_bad_cell_is_named_with_line_column_rule_and_value(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "bad.csv", ROW, {**ROW, **change})
    with pytest.raises(UserError) as caught:
        read_csv(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("sensor", ["ina3221", "pmic", "yokogawa-wt310", "0.5_class", 40 * "a"])
def test_any_sensor_has_a_name_and_is_one(tmp_path: Path, sensor: str) -> None:
    path = write(tmp_path / "a.csv", ROW, {**ROW, "energy_source": f"external:{sensor}"})
    assert read_csv(path)["energy_source"].map(schema.is_measured).tolist() == [False, True]
    assert [schema.is_measured(row.energy_source) for row in read_rows(path)] == [False, True]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.csv", ROW, header=[name for name in HEADER if name != "groups"])
    with pytest.raises(UserError, match=r"bad\.csv: header: must have the column groups"):
        read_csv(path)
    path = write(tmp_path / "bad.csv", ROW, header=[name for name in HEADER if name != "time_s"])
    with pytest.raises(UserError, match=r"header: must have one of the columns energy_above_active_idle_j"):
        read_csv(path)
    path = write(tmp_path / "bad.csv", ROW, header=[*HEADER, "N"])
    with pytest.raises(UserError, match=r"header: must name each column once \(got 'N'\)"):
        read_csv(path)


def test_a_file_cut_off_in_its_last_line_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.csv", ROW, ROW)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        UserError, match=r"cut\.csv: line 3: must have 23 cells as the header has, it is cut off"
    ):
        read_csv(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\xff\xfe\x80" * 40, "is not a CSV file"),
        (b"hello\n", "header: must have the column"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_csv(path)


def test_random_bytes_never_end_in_anything_but_a_refusal(tmp_path: Path) -> None:
    source = random.Random(2008_02565)
    good = write(tmp_path / "good.csv", ROW, ROW).read_bytes()
    path = tmp_path / "random.csv"
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(source.randint(1, 20)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            frame = read_csv(path)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert len(frame) <= 2


def test_missing_file_and_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        read_csv(tmp_path)


def test_cells_are_written_so_that_they_read_back_exactly() -> None:
    assert format_value(1 / 3) == "0.3333333333333333"
    assert format_value("two\nlines  here") == "two lines here"
    with pytest.raises(ValueError, match="finite"):
        format_value(float("nan"))


def test_a_column_is_a_field_of_a_row_of_the_same_kind() -> None:
    annotated = {"text": "str", "int": "int | None", "float": "float | None"}
    fields = {field.name: str(field.type) for field in attrs.fields(Row)}
    assert fields == {column.name: annotated[column.kind] for column in schema.COLUMNS} | {
        "others": "Mapping[str, str]"
    }
    first = schema.NAMES.index("N")
    assert schema.NAMES[first : first + len(DIMENSIONS)] == DIMENSIONS


def test_a_row_of_a_network_has_the_sums_over_its_layers() -> None:
    layers = networks.load("mobilenet_v2")
    counts = schema.network_counts(layer.with_batch(4) for layer in layers)
    assert counts["layers"] == len(layers)
    assert counts["macs"] == sum(counts[f"macs_{op}"] for op in OPERATORS) == 4 * sum(x.macs for x in layers)
    assert counts["macs_depthwise"] == 4 * sum(x.macs for x in layers if x.op == "depthwise")
    assert counts["weights"] == sum(x.weights for x in layers), "weights do not grow with the batch"
    assert counts["inputs"] + counts["outputs"] == 4 * sum(x.activations for x in layers)
    assert set(counts) <= set(schema.NAMES)


def test_a_row_is_written_and_read_back_unchanged(tmp_path: Path) -> None:
    layer = Layer(N=2, C=8, H=7, W=7, K=4, R=3, S=3, pad_h=1, name='a, "b"/c')
    case = Case(layer=layer, backend="cpu", variant="conv_output_stationary", tile_p=2, taps=3, cold=True)
    row = attrs.evolve(case.row(), time_s=1 / 3, status="flagged", energy_source="none", reason="a, b")
    path = tmp_path / "sweep.csv"
    path.write_bytes(HEADER_LINE + line_of(row) + line_of(row)[:-9])
    assert list(read_rows(path)) == [row], "without the line that was cut off"
    assert (row.N, row.tile_p, row.knobs, row.stationarity) == (2, 2, "taps=3;cold=1", "output")
    assert schema.unpack_knobs(row.knobs) == {"taps": "3", "cold": "1"}
    frame = read_csv(write(tmp_path / "a.csv", ROW))
    (read,) = read_rows(tmp_path / "a.csv")
    assert read.others == {"colour": "red"}, "unknown columns are kept"
    assert read.known() == {name: cell for name, cell in frame.iloc[0].items() if name != "colour"}


def test_a_bad_row_is_refused_in_the_same_words_one_by_one_as_in_a_frame(tmp_path: Path) -> None:
    for change in (
        {"N": "1_0"},
        {"time_s": "inf"},
        {"status": "fine"},
        {"op": "conv"},
        {"energy_source": "meter"},
    ):
        path = write(tmp_path / "bad.csv", ROW, ROW | change)
        with pytest.raises(UserError) as by_frame:
            read_csv(path)
        with pytest.raises(UserError) as by_row:
            list(read_rows(path))
        assert str(by_row.value) == str(by_frame.value)
    with pytest.raises(UserError, match="must have the column case_id"):
        list(read_rows(write(tmp_path / "a.csv", ROW), ("case_id",)))
