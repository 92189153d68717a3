"""The CSV contract: `Row`, one row of a sweep's table, and its columns; `dibench.table` reads and writes it.

One tidy row per case and visit set, one header, UTF-8, RFC 4180, no newline inside a field, `.` decimals,
an empty cell where a value is not known. Anybody's tool may write such a file; columns not listed here
are kept as text.

A whole network is one row, too: `op=network`, its name under `name`, N, C, H, W of its input, and as `macs`,
`weights`, `inputs`, `outputs` the sums over its layers, with `layers` and `macs_standard` … `macs_fc` where
they are known; `network_counts` fills all of these from layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from dibench import case_ids
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS, Layer

STATUSES = ("ok", "flagged", "failed", "skipped")
OWN_SENSORS = ("nvml_counter", "nvml_power", "rapl", "zeus")
"""Energy sources that are sensors which dibench reads itself."""

EXTERNAL = "external:"
"""Before the name of any other sensor, such as `external:ina3221`: somebody else's, or a laboratory's own."""

ENERGY_SOURCES = (*OWN_SENSORS, "model", "simulated", "none")
"""The energy sources beside external sensors. `model` is computed, `simulated` is test data: neither is
evidence."""

_SENSOR = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")

ANCHOR = "anchor"
"""`op` of an anchor kernel's row: no layer, its dimensions are empty."""

NETWORK = "network"
"""`op` of one inference of a whole network: of its dimensions N, C, H, W are filled, its input; its counts
are sums over its layers."""

NO_LAYER = (ANCHOR, NETWORK)

SEPARATOR = ";"
"""Between the names of a row that stands for layers of several networks, and between their families."""

LIBRARY = "torch"
"""`backend` of the rows of PyTorch's library, the peer of our kernels."""

DISTRIBUTIONS = ("uniform", "normal", "zeros", "low_toggle")
"""Of operand values: they change energy by up to 40%, so every row names its own under `data`."""

WARM_OPERANDS, REPEATED_MODULE, FRAMEWORK_CALLS = "warm_operands", "repeated_module", "framework_calls"
CAVEATS = {
    WARM_OPERANDS: "launches read the same weights and inputs again, which caches may still hold",
    REPEATED_MODULE: "one module is called again and again: caches may still hold its weights",
    FRAMEWORK_CALLS: "a launch is a call of a framework, which takes time of its own",
}
"""Words of the column `caveats`, which says of a source how it measured."""

RESPONSES = ("energy_above_active_idle_j", "energy_above_idle_j", "energy_j", "time_s")
"""What a fit can explain, best first; a file needs at least one of them."""


@attrs.frozen
class CsvColumn:
    """One column: its name, what its cells hold, and their meaning with unit."""

    name: str
    kind: str  # "int", "float", "text"
    meaning: str


def _text(meaning: str) -> Any:
    return attrs.field(default="", metadata={"kind": "text", "meaning": meaning})


def _int(meaning: str) -> Any:
    return attrs.field(default=None, metadata={"kind": "int", "meaning": meaning})


def _float(meaning: str) -> Any:
    return attrs.field(default=None, metadata={"kind": "float", "meaning": meaning})


@attrs.frozen(kw_only=True)
class Row:
    """One row of a sweep's table: a case, what was measured of it, when, where and how.

    Its fields are the columns of the contract, in their order. A number that is not known is None, a text
    that is not known is empty.

    >>> Row(op="fc", N=1, time_s=1e-3).known()
    {'op': 'fc', 'N': 1, 'time_s': 0.001}
    """

    case_id: str = _text("c and 16 hex digits of the SHA-256 of what makes the case")
    order: int | None = _int("position in the plan")
    sentinel: int | None = _int("1 for a repeated reference case")
    session: str = _text("one start of the program")
    started_at: str = _text("UTC")
    device: str = _text("model of the device")
    device_uuid: str = _text("which one")
    backend: str = _text("cpu, cuda, torch, host")
    name: str = _text("network/layer, may be empty; several of a layer that networks share, ; between")
    op: str = _text(
        "standard, depthwise, pointwise, grouped, fc; anchor, which has no dimensions; network, of which "
        "N, C, H, W are the input"
    )
    N: int | None = _int("layer dimension")
    C: int | None = _int("layer dimension")
    H: int | None = _int("layer dimension")
    W: int | None = _int("layer dimension")
    K: int | None = _int("layer dimension")
    R: int | None = _int("layer dimension")
    S: int | None = _int("layer dimension")
    P: int | None = _int("layer dimension")
    Q: int | None = _int("layer dimension")
    stride_h: int | None = _int("layer dimension")
    stride_w: int | None = _int("layer dimension")
    pad_h: int | None = _int("layer dimension")
    pad_w: int | None = _int("layer dimension")
    dil_h: int | None = _int("layer dimension")
    dil_w: int | None = _int("layer dimension")
    groups: int | None = _int("layer dimension")
    dtype: str = _text("of inputs, weights and outputs alike; sums are fp32")
    variant: str = _text("kernel variant")
    stationarity: str = _text("operand held in registers")
    tile_p: int | None = _int("output positions of the box")
    tile_k: int | None = _int("output channels of the box")
    tile_c: int | None = _int("reduction channels of the box")
    lanes: str = _text("dimension that neighbouring lanes span: p or k")
    instances: int | None = _int("copies of the layer in one launch")
    sms: int | None = _int("multiprocessors used")
    knobs: str = _text("further knobs, key=value;…")
    macs: int | None = _int("multiply-adds M of the layer; of a network the sum over its layers")
    macs_executed: int | None = _int("multiply-adds done")
    weights: int | None = _int("elements W, likewise")
    inputs: int | None = _int("elements X, likewise")
    outputs: int | None = _int("elements Y, likewise")
    ai: float | None = _float("M / (W + X + Y), MAC per element")
    weight_reads: int | None = _int("weight elements read, per launch and instance")
    input_reads: int | None = _int("input elements read")
    output_reads: int | None = _int("partial sums read")
    output_writes: int | None = _int("partial sums and outputs written")
    weight_sectors: int | None = _int(
        "32-byte sectors of weights asked for; no formula tells them: empty in our own sweeps"
    )
    input_sectors: int | None = _int("of inputs")
    output_sectors: int | None = _int("of outputs")
    time_s: float | None = _float("per launch and instance")
    time_ci_s: float | None = _float("half-width of its 95% interval")
    energy_j: float | None = _float("gross, per launch and instance")
    energy_ci_j: float | None = _float("half-width of its 95% interval")
    energy_above_idle_j: float | None = _float("less idle power times time")
    energy_above_active_idle_j: float | None = _float("less active idle power times time")
    energy_alt_j: float | None = _float("gross, by the second estimator")
    ci_tick_j: float | None = _float("error budget: tick quantisation")
    ci_spread_j: float | None = _float("spread of windows and visits")
    ci_drift_j: float | None = _float("drift of the sentinels")
    ci_baseline_j: float | None = _float("uncertainty of the baselines")
    power_w: float | None = _float("mean in the windows")
    idle_power_w: float | None = _float("no context")
    active_idle_power_w: float | None = _float("context alive, clocks up, no work")
    energy_source: str = _text("one of " + " ".join(ENERGY_SOURCES) + ", or external:SENSOR")
    meter_period_s: float | None = _float("update period of the sensor")
    visits: int | None = _int("separate times that the case was measured")
    windows: int | None = _int("metered batches of launches")
    launches: int | None = _int("in all windows")
    temp_start_c: float | None = _float("of the device")
    temp_end_c: float | None = _float("of the device")
    sm_clock_mhz: float | None = _float("mean")
    mem_clock_mhz: float | None = _float("mean")
    clock_events: str = _text("reasons that held the clock down")
    data: str = _text("distribution of operand values")
    seed: int | None = _int("of operand values")
    status: str = _text("one of " + " ".join(STATUSES))
    reason: str = _text("why it is not ok")
    # Beyond the contract, empty elsewhere: what some cards tell of themselves (means over windows), the grid.
    memory_power_w: float | None = _float("of power_w, what the card's memory drew")
    dram_bandwidth_pct: float | None = _float("bytes that DRAM moved over the most it could")
    fp32_pct: float | None = _float("time in which the FP32 units worked")
    tensor_pct: float | None = _float("time in which the tensor cores worked")
    occupancy_pct: float | None = _float("warps present over the most there could be")
    zeus_power_w: float | None = _float("power_w as Zeus reads it on the same windows")
    blocks: int | None = _int("blocks of threads in the launch's grid")
    gain_accuracy_pct: float | None = _float(
        "how far the sensor's gain may be off, as declared: the same in all rows, in no interval of a row"
    )
    # Of a network beside the sums, and of any row the family.
    layers: int | None = _int("of a network: layers that its sums are of")
    macs_standard: int | None = _int("of a network: multiply-adds of its layers of that operator")
    macs_depthwise: int | None = _int("likewise")
    macs_pointwise: int | None = _int("likewise")
    macs_grouped: int | None = _int("likewise")
    macs_fc: int | None = _int("likewise")
    family: str = _text(
        "of the networks in `name`: one for all, or one each, with ; between; empty: as the name's stem says"
    )
    # What other people's tables must say: our own tell capped rows by clock events, and have no caveats.
    power_limit_w: float | None = _float("under which the device keeps its power")
    cache_bytes: int | None = _int("that the last cache before memory holds")
    caveats: str = _text("how its source measured: words of " + " ".join(CAVEATS) + ", ; between")
    others: Mapping[str, str] = attrs.field(factory=dict)
    """Cells of columns that the contract does not know, as text."""

    @property
    def measured(self) -> bool:
        """Whether there are results, doubtful ones included: `ok` or `flagged`."""
        return self.status in ("ok", "flagged")

    def known(self) -> dict[str, Any]:
        """The cells of the contract that are not empty, by column."""
        cells = ((name, getattr(self, name)) for name in NAMES)
        return {name: cell for name, cell in cells if cell is not None and cell != ""}


COLUMNS: tuple[CsvColumn, ...] = tuple(
    CsvColumn(field.name, **field.metadata) for field in attrs.fields(Row) if field.metadata
)
"""The contract's columns are the fields of a Row."""

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
REQUIRED: tuple[str, ...] = ("op", *DIMENSIONS, "dtype", "energy_source", "status")
KINDS = {column.name: column.kind for column in COLUMNS}
CHOICES = {"op": (*OPERATORS, *NO_LAYER), "status": STATUSES, "energy_source": ENERGY_SOURCES}
"""Columns that hold one of a few words; `energy_source` may name an external sensor instead."""
CHECKED = ("case_id", *CHOICES)
"""Columns of text with a rule."""


def is_measured(source: str) -> bool:
    """Whether an energy source is a sensor.

    >>> is_measured("rapl"), is_measured("external:yokogawa"), is_measured("model")
    (True, True, False)
    """
    return source in OWN_SENSORS or source.startswith(EXTERNAL)


def broken_rule(column: str, text: str) -> str:
    """The rule that a cell of `CHECKED` breaks; empty where it keeps it.

    >>> broken_rule("status", "good")
    'must be one of ok, flagged, failed, skipped'
    >>> broken_rule("energy_source", "external:ina3221")
    ''
    """
    if column == "case_id":
        return case_ids.broken_rule(text)
    rule = "must be one of " + ", ".join(CHOICES[column])
    if text in CHOICES[column]:
        return ""
    if column != "energy_source":
        return rule
    if text.startswith(EXTERNAL) and _SENSOR.fullmatch(text.removeprefix(EXTERNAL)):
        return ""
    return rule + f", or {EXTERNAL} and a sensor's name of 1 to 40 letters a-z, digits, _ - and ."


def network_counts(layers: Iterable[Layer]) -> dict[str, int]:
    """The counts of a network's row, by column: sums over its layers, each as often as it occurs.

    >>> network_counts([Layer.fc(N=1, C=2, K=3), Layer.fc(N=1, C=3, K=4)])["macs_fc"]
    18
    """
    columns = ("layers", "macs", "weights", "inputs", "outputs", *(f"macs_{op}" for op in OPERATORS))
    found: Counter[str] = Counter(dict.fromkeys(columns, 0))
    for layer in layers:
        found.update(layers=1, macs=layer.macs, weights=layer.weights)
        found.update({"inputs": layer.inputs, "outputs": layer.outputs, f"macs_{layer.op}": layer.macs})
    return dict(found)


def pack_knobs(knobs: Mapping[str, Any]) -> str:
    """Knobs as the cell `knobs` has them.

    >>> pack_knobs({"taps": 3, "sms": "half", "cold": 1})
    'taps=3;sms=half;cold=1'
    """
    return ";".join(f"{name}={value}" for name, value in knobs.items())


def unpack_knobs(cell: str) -> dict[str, str]:
    """The knobs of a cell, as text by name.

    >>> unpack_knobs("taps=3;sms=half;cold=1")
    {'taps': '3', 'sms': 'half', 'cold': '1'}
    """
    return dict(part.split("=", 1) for part in cell.split(";") if "=" in part)
