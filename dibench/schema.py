"""The CSV contract: the columns of a sweep's table, what they mean, and how a file is read and checked.

One tidy row per case and visit set, one header, UTF-8, RFC 4180, no newline inside a field, `.` decimals,
an empty cell where a value is not known. Anybody's tool may write such a file; columns not listed here
are kept as text.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS, Layer

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("ok", "flagged", "failed", "skipped")
ENERGY_SOURCES = ("nvml_counter", "nvml_power", "rapl", "zeus", "model", "simulated", "none")
MEASURED_SOURCES = ("nvml_counter", "nvml_power", "rapl", "zeus")
"""Energy sources that are sensors. `model` is computed, `simulated` is test data: neither is evidence."""

ANCHOR = "anchor"
"""`op` of an anchor kernel's row: no layer, its dimensions are empty."""

NETWORK = "network"
"""`op` of one inference of a whole network: of its dimensions N, C, H, W are filled, its input."""

NO_LAYER = (ANCHOR, NETWORK)

LIBRARY = "torch"
"""`backend` of the rows of PyTorch's library, the peer of our kernels."""

DISTRIBUTIONS = ("uniform", "normal", "zeros", "low_toggle")
"""Of operand values: they change energy by up to 40%, so every row names its own under `data`."""

RESPONSES = ("energy_above_active_idle_j", "energy_above_idle_j", "energy_j", "time_s")
"""What a fit can explain, best first; a file needs at least one of them."""


@attrs.frozen
class Column:
    """One column: its name, what its cells hold, and their meaning with unit."""

    name: str
    kind: str  # "int", "float", "text"
    meaning: str


def _columns(kind: str, **meanings: str) -> list[Column]:
    return [Column(name, kind, meaning) for name, meaning in meanings.items()]


COLUMNS: tuple[Column, ...] = (
    *_columns("text", case_id="16 hex digits of the SHA-256 of what makes the case"),
    *_columns("int", order="position in the plan", sentinel="1 for a repeated reference case"),
    *_columns(
        "text",
        session="one start of the program",
        started_at="UTC",
        device="model of the device",
        device_uuid="which one",
        backend="cpu, cuda, torch, host",
        name="network/layer, may be empty",
        op="standard, depthwise, pointwise, grouped, fc; anchor, which has no dimensions; "
        "network, of which N, C, H, W are the input",
    ),
    *(Column(dim, "int", "layer dimension") for dim in DIMENSIONS),
    *_columns(
        "text", dtype="of the operands", variant="kernel variant", stationarity="operand held in registers"
    ),
    *_columns(
        "int",
        tile_p="output positions of the box",
        tile_k="output channels of the box",
        tile_c="reduction channels of the box",
    ),
    *_columns("text", lanes="dimension that neighbouring lanes span: p or k"),
    *_columns("int", instances="copies of the layer in one launch", sms="multiprocessors used"),
    *_columns("text", knobs="further knobs, key=value;…"),
    *_columns(
        "int",
        macs="multiply-adds M of the layer",
        macs_executed="multiply-adds done",
        weights="elements W",
        inputs="elements X",
        outputs="elements Y",
    ),
    *_columns("float", ai="M / (W + X + Y), MAC per element"),
    *_columns(
        "int",
        weight_reads="weight elements read, per launch and instance",
        input_reads="input elements read",
        output_reads="partial sums read",
        output_writes="partial sums and outputs written",
        weight_sectors="32-byte sectors of weights asked for; no formula tells them: empty in our own sweeps",
        input_sectors="of inputs",
        output_sectors="of outputs",
    ),
    *_columns(
        "float",
        time_s="per launch and instance",
        time_ci_s="half-width of its 95% interval",
        energy_j="gross, per launch and instance",
        energy_ci_j="half-width of its 95% interval",
        energy_above_idle_j="less idle power times time",
        energy_above_active_idle_j="less active idle power times time",
        energy_alt_j="gross, by the second estimator",
        ci_tick_j="error budget: tick quantisation",
        ci_spread_j="spread of windows and visits",
        ci_drift_j="drift of the sentinels",
        ci_baseline_j="uncertainty of the baselines",
        power_w="mean in the windows",
        idle_power_w="no context",
        active_idle_power_w="context alive, clocks up, no work",
    ),
    *_columns("text", energy_source="one of " + " ".join(ENERGY_SOURCES)),
    *_columns("float", meter_period_s="update period of the sensor"),
    *_columns(
        "int", visits="stays at this case", windows="metered batches of launches", launches="in all windows"
    ),
    *_columns(
        "float",
        temp_start_c="of the device",
        temp_end_c="of the device",
        sm_clock_mhz="mean",
        mem_clock_mhz="mean",
    ),
    *_columns("text", clock_events="reasons that held the clock down", data="distribution of operand values"),
    *_columns("int", seed="of operand values"),
    *_columns("text", status="one of " + " ".join(STATUSES), reason="why it is not ok"),
    # Beyond the contract: what some cards tell of themselves, means over the windows; empty elsewhere.
    *_columns(
        "float",
        memory_power_w="of power_w, what the card's memory drew",
        dram_bandwidth_pct="bytes that DRAM moved over the most it could",
        fp32_pct="time in which the FP32 units worked",
        tensor_pct="time in which the tensor cores worked",
        occupancy_pct="warps present over the most there could be",
        zeus_power_w="power_w as Zeus reads it on the same windows",
    ),
)

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
REQUIRED: tuple[str, ...] = ("op", *DIMENSIONS, "dtype", "energy_source", "status")
BLOCK = 8_192
"""Rows that are read as text at once: bounds memory."""

_KINDS = {column.name: column.kind for column in COLUMNS}
_CHOICES = {"op": (*OPERATORS, *NO_LAYER), "status": STATUSES, "energy_source": ENERGY_SOURCES}


def format_value(value: Any) -> str:
    """A cell's text: empty for None, shortest exact form for numbers, no newline in text.

    >>> format_value(None), format_value(0.1), format_value(3), format_value("a\\nb")
    ('', '0.1', '3', 'a b')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a cell holds finite numbers only, got {value}")
        return repr(value)
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def read_csv(path: str | Path) -> pd.DataFrame:
    """A sweep's table as a frame: whole numbers as nullable Int64, decimals as float64, the rest as text.

    Read in blocks of rows; of a block, each different cell of a column is looked at once.

    Raises:
        UserError: the file is missing, not a table of this contract, cut off, or a cell breaks a rule; the
            message names file, line, column, rule and value.
    """
    import pandas as pd

    path = Path(path)
    blocks = []
    with _explained(path), path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write the mark
        lines = csv.reader(file, strict=True)
        header = next(lines, None)
        if header is None:
            raise UserError("", "is empty: must begin with a header line", where=path)
        _check_header(path, header)
        first = 2
        while rows := list(islice(lines, BLOCK)):
            _check_lengths(path, header, rows, first, at_end=len(rows) < BLOCK)
            blocks.append(_frame(path, header, list(zip(*rows, strict=True)), first))
            first += len(rows)
    frame = pd.concat(blocks, ignore_index=True) if blocks else _frame(path, header, [()] * len(header), 2)
    _check_layers(path, frame)
    return frame


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("", f"is not a CSV file in UTF-8: {error}", where=path) from None


def _check_header(path: Path, header: list[str]) -> None:
    for name in REQUIRED:
        if name not in header:
            raise UserError("header", f"must have the column {name}", ",".join(header), where=path)
    if not any(name in header for name in RESPONSES):
        raise UserError("header", "must have one of the columns " + ", ".join(RESPONSES), where=path)
    for name in header:
        if header.count(name) > 1:
            raise UserError("header", "must name each column once", name, where=path)


def _check_lengths(path: Path, header: list[str], rows: list[list[str]], first: int, *, at_end: bool) -> None:
    for line, row in enumerate(rows, start=first):
        if len(row) != len(header):
            last = at_end and line == first + len(rows) - 1
            cut = ", it is cut off" if last and len(row) < len(header) else ""
            rule = f"must have {len(header)} cells as the header has{cut}"
            raise UserError(f"line {line}", rule, len(row), where=path)


@attrs.frozen
class _Cells:
    """One column of a block of rows."""

    path: Path
    name: str
    first: int
    """Line of the first cell in the file."""
    texts: tuple[str, ...]

    def refused(self, rule: str, text: str) -> UserError:
        """What to raise for the first cell with that text."""
        line = self.first + self.texts.index(text)
        return UserError(f"line {line}: {self.name}", rule, text, where=self.path)

    def numbers(self, parse: Callable[[str], float], empty: float, rule: str, dtype: str) -> Any:
        """The cells parsed."""
        import numpy as np

        known = {"": empty}
        for text in dict.fromkeys(self.texts):
            if text:
                try:
                    known[text] = parse(text)
                except ValueError:
                    raise self.refused(rule, text) from None
        return np.fromiter(map(known.__getitem__, self.texts), dtype=dtype, count=len(self.texts))


def _frame(path: Path, header: list[str], columns: list[tuple[str, ...]], first: int) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            name: _CONVERT[_KINDS.get(name, "text")](_Cells(path, name, first, texts))
            for name, texts in zip(header, columns, strict=True)
        }
    )


def _text(cells: _Cells) -> list[str]:
    shared = dict(zip(cells.texts, cells.texts, strict=True))  # equal cells are one string in memory
    if cells.name in _CHOICES:
        legal = _CHOICES[cells.name]
        for text in shared:
            if text not in legal:
                raise cells.refused("must be one of " + ", ".join(legal), text)
    return [shared[text] for text in cells.texts]


def _int(cells: _Cells) -> Any:
    import numpy as np
    import pandas as pd

    numbers = cells.numbers(_whole, 0, "must be a whole number or empty", "i8")
    missing = np.fromiter(map(not_, cells.texts), dtype=bool, count=len(cells.texts))
    return pd.arrays.IntegerArray(numbers, missing)


def _float(cells: _Cells) -> Any:
    return cells.numbers(_finite, math.nan, "must be a finite number or empty", "f8")


_CONVERT: dict[str, Callable[[_Cells], Any]] = {"text": _text, "int": _int, "float": _float}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text or not text.isascii():
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if "_" in text or not text.isascii() or abs(value := int(text)) >= 2**63:
        raise ValueError(text)
    return value


def _check_layers(path: Path, frame: pd.DataFrame) -> None:
    """Every row's dimensions make a layer, and its operator is that layer's.

    What holds at two batch sizes holds between them: of rows that differ in N alone those of the least and
    the largest are looked at, and row by row only where something is wrong.
    """
    if _are_layers(frame):
        return
    for line, (op, *dims) in enumerate(frame[["op", *DIMENSIONS]].itertuples(index=False), start=2):
        try:
            _check_layer(op, dims)
        except UserError as error:
            raise UserError(f"line {line}", str(error), where=path) from None


def _are_layers(frame: pd.DataFrame) -> bool:
    rows = frame.groupby(["op", frame["N"].isna(), *DIMENSIONS[1:]], sort=False, dropna=False)["N"]
    try:
        for (op, _, *rest), least, most in rows.agg(["min", "max"]).itertuples():
            _check_layer(op, [least, *rest])
            _check_layer(op, [most, *rest])
    except UserError:
        return False
    return True


def _check_layer(op: str, dims: Sequence[Any]) -> None:
    import pandas as pd

    known = {dim: int(value) for dim, value in zip(DIMENSIONS, dims, strict=True) if value is not pd.NA}
    if op == ANCHOR:
        for dim in known:
            raise UserError(dim, "must be empty, an anchor is no layer")
    elif op != NETWORK:
        for dim in DIMENSIONS:
            if dim not in known:
                raise UserError(dim, "must not be empty")
        layer = Layer.from_dims(known)
        if op != layer.op:
            raise UserError("op", f"must be {layer.op} for these dimensions", op)
