"""The CSV contract: the columns of a sweep's table and what they mean; `dibench.table` reads such a file.

One tidy row per case and visit set, one header, UTF-8, RFC 4180, no newline inside a field, `.` decimals,
an empty cell where a value is not known. Anybody's tool may write such a file; columns not listed here
are kept as text.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS

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
KINDS = {column.name: column.kind for column in COLUMNS}
CHOICES = {"op": (*OPERATORS, *NO_LAYER), "status": STATUSES, "energy_source": ENERGY_SOURCES}


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
