"""Which rows a fit uses, what it explains, and why the other rows stay out.

A fit is about one device, backend, data type, operand distribution and energy source: nothing is pooled
silently. If there are several devices, the caller chooses one. Of the other settings the most frequent value
is taken; rows with another one are counted among the exclusions. Layers and whole networks are never in one
fit: what runs between layers is in the joules of a network only.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.layer import DIMENSIONS
from dibench.schema import ANCHOR, NETWORK, NO_LAYER, REQUIRED, RESPONSES, broken_rule, is_measured
from dibench.study.findings.layer_counts import LayerCounts
from dibench.study.table.columns import counts, is_earlier, is_network, numbers, row_numbers, texts
from dibench.study.table.fastest import fastest_variants, is_slower, layer_numbers
from dibench.study.table.gain import check_gain, gain_accuracy
from dibench.study.table.network_rows import contradicts_itself, notes_on, with_counts, without_counts
from dibench.study.table.row_errors import Repeats, interval_of, repeats
from dibench.study.table.subsets import capped, throttled

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]

ENERGY_COLUMNS = tuple(column for column in RESPONSES if column.endswith("_j"))
"""Energies that a fit can explain, best first."""

WIDEST = 0.2
"""Relative half-width of a row's 95% interval beyond which the row harms a fit more than it tells.

A fit weighs all rows alike. Simulated: 120 layers, 30% of them disturbed, which only lengthens them, and a
model that misses by 5%. Without the disturbed rows predictions are off by 0.9%; with them by 1.5% at ±10% and
by 2.6% at ±20%, from where on α is worse with them, too."""

AT_CAP = "at the power cap"
"""Why a row at the power cap is left out."""

PLAUSIBLE = (1e-18, 1e9)
"""Joules or seconds of one launch; a value outside is a mistake of units."""

SETTINGS = ("device", "device_uuid", "backend", "dtype", "data")
"""What all rows of one fit have in common."""


class Choice(TypedDict, total=False):
    """Which of `SETTINGS` a caller can choose; for the rest the most frequent value is taken."""

    device: str | None
    backend: str | None
    dtype: str | None


@attrs.frozen
class Selection:
    """The rows of one fit and how they were chosen."""

    frame: pd.DataFrame
    rows: int
    """Rows of the tables before any exclusion."""
    excluded: dict[str, int]
    """Reason → number of rows, in the order of the rules."""
    response: str
    """The column that is explained."""
    sources: tuple[str, ...]
    """Values of `energy_source` in the rows used."""
    setting: dict[str, str]
    variants: dict[str, str]
    """The kernel variant of each operator; empty text where the table names none."""
    repeats: Repeats
    """How far repeats of a case lie apart, those that the fit leaves out among them."""
    layers: LayerCounts
    """Distinct layers, or whole networks, of the tables and of the fit."""
    networks: bool = False
    """Whether the rows are whole networks, not layers."""
    notes: tuple[str, ...] = ()
    """Of networks: which counts are not as the models want them, and what was done about it."""

    @property
    def kind(self) -> str:
        """`energy` or `time`."""
        return "time" if self.response == "time_s" else "energy"

    @property
    def measured(self) -> bool:
        """Whether the response comes from a sensor or a clock, not from a model or a simulated device."""
        return self.kind == "time" or all(map(is_measured, self.sources))

    @property
    def basis(self) -> str:
        """What is explained, such as `measured energy (energy_j)`."""
        source = "measured" if self.measured else " or ".join(self.sources)
        return f"{source} {self.kind} ({self.response})"

    @property
    def evidence(self) -> bool:
        """Whether the fit is evidence about energy: only measured joules are."""
        return self.kind == "energy" and self.measured

    @property
    def gain_accuracy(self) -> float | None:
        """How far the sensor's gain may be off, a fraction; None where not declared, or nothing is sensed."""
        return gain_accuracy(self.frame) if self.evidence else None


def select(
    frame: pd.DataFrame,
    *,
    modelled: bool = False,
    every_kernel: bool = False,
    at_cap: bool | None = None,
    networks: bool = False,
    **chosen: Unpack[Choice],
) -> Selection:
    """The rows that count, and the response they have in common.

    Left out are rows that failed or were skipped, sentinels, repeats of a case (the last one counts), rows
    with a throttled clock, rows of another setting, rows whose interval is too wide, and rows at the power
    cap unless they are most of the rows: the rest is then not what the card does. The response is measured
    energy if there is any: above active idle, else above idle, else gross, whichever at least half of the
    rows have first. Without measured energy it is measured time. The models on compulsory counts
    describe one kernel, so only the fastest variant of each operator counts, and its fastest run of each
    layer.

    Args:
        frame: a table of the CSV contract, as `table.read_csv` gives it.
        modelled: explain modelled or simulated energy instead, as a check of the pipeline.
        every_kernel: keep every kernel of a layer: what twins and the reuse lattice compare.
        at_cap: whether rows at the power cap count; None: where they are most of the rows.
        networks: use the rows of whole networks, not those of layers.
        chosen: `device`, `backend`, `dtype`: use only these rows.

    Raises:
        UserError: columns are missing, several devices without a choice, or no row is left.
    """
    _check_table(frame)
    sieve = _Sieve(frame, _layer_numbers(frame, networks))
    _drop_unusable(sieve, networks)
    wanted: dict[str, Any] = dict(chosen)
    # What the caller chose comes first, so that the most frequent of the rest is counted among those rows.
    order = sorted(SETTINGS, key=lambda name: wanted.get(name) is None)
    setting = {name: _settle(sieve, name, wanted.get(name)) for name in order}
    sieve.check()
    response = _choose_response(sieve, modelled)
    _drop_implausible(sieve, response)
    _drop_too_wide(sieve, response)
    sieve.check("measure longer (--case-budget), or where less disturbs")
    at_cap = _drop_capped(sieve, at_cap)
    sieve.check()
    variants: dict[str, str] = {}
    if not every_kernel:
        variants = fastest_variants(sieve.frame, response)
        family = np.array([variants[op] for op in sieve.text("op").tolist()], dtype=object)
        sieve.drop(sieve.text("variant") != family, "not the fastest variant of its operator")
        sieve.drop(is_slower(sieve.frame, response), "slower run of the same layer")
    sieve.check()
    sources = tuple(sorted(set(sieve.text("energy_source"))))
    used = sieve.frame.reset_index(drop=True)
    own = frame[is_network(frame) == networks]
    again = repeats(_repeated(own, setting, sources, response, at_cap), response)
    return Selection(
        frame=used,
        rows=len(frame),
        excluded=sieve.excluded,
        response=response,
        sources=sources,
        setting=setting,
        variants=variants,
        repeats=again,
        layers=sieve.layers(),
        networks=networks,
        notes=notes_on(used) if networks else (),
    )


def anchors(frame: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """The anchor kernels' rows with the selection's setting and response; each is about one memory level."""
    sieve = _Sieve(frame)
    sieve.drop(sieve.text("op") != ANCHOR, "a layer")
    sieve.drop(~np.isin(sieve.text("status").astype(str), ("ok", "flagged")), "not measured")
    _drop_throttled(sieve)
    _drop_capped(sieve, False)
    for name, value in selection.setting.items():
        if name in ("device", "device_uuid", "backend"):  # an anchor has one data type and no operands
            sieve.drop(sieve.text(name) != value, f"another {name}")
    if selection.kind == "energy":
        sieve.drop(~np.isin(sieve.text("energy_source").astype(str), selection.sources), "another source")
    sieve.drop(~(sieve.number(selection.response) > 0), f"no {selection.response}")
    _drop_too_wide(sieve, selection.response)
    return sieve.frame.reset_index(drop=True)


def repeats_of(frame: pd.DataFrame, selection: Selection, response: str) -> Repeats:
    """What repeats of cases in the table of a selection say of another response of its rows."""
    at_cap = bool(capped(selection.frame).any())
    own = frame[is_network(frame) == selection.networks]
    return repeats(_repeated(own, selection.setting, selection.sources, response, at_cap), response)


def _repeated(
    frame: pd.DataFrame, setting: dict[str, str], sources: tuple[str, ...], response: str, at_cap: bool
) -> pd.DataFrame:
    """Rows of that setting that were measured, with repeats and sentinels."""
    sieve = _Sieve(frame)
    sieve.drop(~np.isin(sieve.text("status").astype(str), ("ok", "flagged")), "not measured")
    sieve.drop(sieve.text("op") == ANCHOR, "no layer")
    _drop_throttled(sieve)
    _drop_capped(sieve, at_cap)
    for name, value in setting.items():
        sieve.drop(sieve.text(name) != value, f"another {name}")
    sieve.drop(~np.isin(sieve.text("energy_source").astype(str), sources), "another source")
    _drop_too_wide(sieve, response)
    return sieve.frame


def _layer_numbers(frame: pd.DataFrame, networks: bool) -> NDArray[np.intp]:
    """A number for each row's layer, or network, equal for equal ones; -1 for a row that is none."""
    counted = is_network(frame) if networks else ~np.isin(texts(frame, "op").astype(str), NO_LAYER)
    found = np.full(len(frame), -1, dtype=np.intp)
    if counted.any():
        found[counted] = layer_numbers(frame[counted])
    return found


class _Sieve:
    """The rows that are left, and how many each rule took out; of layers too, where they are numbered."""

    def __init__(self, frame: pd.DataFrame, layer: NDArray[np.intp] | None = None) -> None:
        self.frame = frame
        self.excluded: dict[str, int] = {}
        self._layer = np.full(len(frame), -1, dtype=np.intp) if layer is None else layer
        self._in_table = _distinct(self._layer)
        self._left_out: dict[str, int] = {}

    def drop(self, out: Mask, reason: str) -> None:
        if out.any():
            self.excluded[reason] = self.excluded.get(reason, 0) + int(out.sum())
            self.frame = self.frame[~out]
            before, self._layer = _distinct(self._layer), self._layer[~out]
            if gone := before - _distinct(self._layer):
                self._left_out[reason] = self._left_out.get(reason, 0) + gone

    def layers(self) -> LayerCounts:
        """Distinct layers at the beginning, those that lost their last row by rule, and those left."""
        return LayerCounts(self._in_table, self._left_out, _distinct(self._layer))

    def check(self, remedy: str = "") -> None:
        """Raise an error if no row is left."""
        if not len(self.frame):
            left_out = ", ".join(f"{number} {reason}" for reason, number in self.excluded.items())
            rule = f"must leave at least one to fit, left out: {left_out}"
            raise UserError("rows", f"{rule}; {remedy}" if remedy else rule)

    def text(self, column: str) -> NDArray[np.object_]:
        return texts(self.frame, column)

    def number(self, column: str) -> NDArray[np.float64]:
        return numbers(self.frame, column)


def _check_table(frame: pd.DataFrame) -> None:
    for name in REQUIRED:
        if name not in frame:
            raise UserError("columns", f"must contain {name}", ", ".join(map(str, frame.columns)))
    if not any(name in frame for name in RESPONSES):
        raise UserError("columns", "must contain one of " + ", ".join(RESPONSES))
    if not len(frame):
        raise UserError("rows", "must be at least one, the table has a header only")
    for name in ("status", "energy_source"):
        cells = texts(frame, name)
        for text in dict.fromkeys(cells):
            if rule := broken_rule(name, text):
                raise UserError(f"row {frame.index[list(cells).index(text)]}: {name}", rule, text)
    check_gain(frame)


def _distinct(layer: NDArray[np.intp]) -> int:
    return len(np.unique(layer[layer >= 0]))


def _drop_unusable(sieve: _Sieve, networks: bool) -> None:
    """Drop rows that are not measured, of another kind, repeated, throttled, or contradictory."""
    for status in ("failed", "skipped"):
        sieve.drop(sieve.text("status") == status, status)
    sieve.drop(sieve.text("op") == ANCHOR, "anchor, no layer")
    sieve.drop(sieve.number("sentinel") == 1, "sentinel")
    if networks:
        sieve.drop(sieve.text("op") != NETWORK, "layer, the fit is of whole networks")
        sieve.frame = with_counts(sieve.frame)
        sieve.drop(without_counts(sieve.frame), "no sums of macs, weights and outputs")
        sieve.drop(contradicts_itself(sieve.frame), "macs are not the sum of those by operator")
    else:
        sieve.drop(sieve.text("op") == NETWORK, "whole network, no layer")
    sieve.drop(_is_repeated(sieve), "repeat of a case, its last row stands")
    _drop_throttled(sieve)
    if not networks:
        sieve.drop(_contradicts_dimensions(sieve), "counts contradict the dimensions")


def _drop_throttled(sieve: _Sieve) -> None:
    sieve.drop(throttled(sieve.frame), "clock throttled")


def _drop_capped(sieve: _Sieve, at_cap: bool | None) -> bool:
    """Drop rows at the power cap unless they count, and say whether they do."""
    out = capped(sieve.frame)
    if at_cap is None:
        at_cap = bool(2 * out.sum() > len(out))
    if not at_cap:
        sieve.drop(out, AT_CAP)
    return at_cap


def _drop_implausible(sieve: _Sieve, response: str) -> None:
    sieve.drop(~np.isfinite(sieve.number(response)), f"no {response}")
    sieve.drop(sieve.number(response) <= 0, f"{response} not above zero")
    least, most = PLAUSIBLE
    value = sieve.number(response)
    sieve.drop((value < least) | (value > most), f"{response} not from {least:g} to {most:g}")


def _drop_too_wide(sieve: _Sieve, response: str) -> None:
    """Drop rows whose interval is beyond WIDEST; energies above a baseline share that of gross energy.

    A row without an interval stays: other tools may not give one.
    """
    value, half_width = interval_of(response)
    beyond = sieve.number(half_width) > WIDEST * sieve.number(value)
    sieve.drop(beyond, f"too wide: interval of {value} beyond ±{100 * WIDEST:g}%")


def _is_repeated(sieve: _Sieve) -> Mask:
    """Rows of a case that a later row measured again, and exact copies of a row without case_id."""
    frame = sieve.frame
    case = sieve.text("case_id")
    # Ours depend on all of these anyway; other tools may number the cases of each table from one.
    told = ("case_id", *SETTINGS, "variant", "knobs", *DIMENSIONS)
    same = [name for name in told if name in frame]
    if "name" in frame and is_network(frame).any():
        same.append("name")  # networks of one input have the same dimensions
    repeated = is_earlier(row_numbers(frame, same))
    unnamed = case == ""
    return np.where(unnamed, is_earlier(row_numbers(frame, frame)), repeated) if unnamed.any() else repeated


def _contradicts_dimensions(sieve: _Sieve) -> Mask:
    out = np.zeros(len(sieve.frame), dtype=bool)
    for name, expected in counts(sieve.frame).items():
        given = sieve.number(name)
        out |= np.isfinite(given) & (np.abs(given - expected) > 1e-9 * expected)
        out |= ~np.isfinite(expected)
    return out


def _settle(sieve: _Sieve, name: str, chosen: str | None) -> str:
    """The value of a setting that all rows of the fit share; rows with another are dropped."""
    how_often = Counter(sieve.text(name).tolist())
    present = sorted(how_often)
    if not present:
        return chosen or ""
    shown = ", ".join(map(repr, present))
    if chosen is not None and chosen not in present:
        raise UserError(name, f"must be one of {shown}", chosen)
    if chosen is None and name == "device" and len(present) > 1:
        raise UserError("device", f"must be chosen, devices are never pooled: {shown}")
    value = chosen if chosen is not None else max(present, key=how_often.__getitem__)
    for other in present:
        if other != value:
            sieve.drop(
                sieve.text(name) == other,
                f"{name} {other or 'not given'}, the fit is for {value or 'not given'}",
            )
    return value


def _choose_response(sieve: _Sieve, modelled: bool) -> str:
    """The column to explain; rows with another energy source are dropped."""
    source = sieve.text("energy_source")
    has_energy = np.zeros(len(sieve.frame), dtype=bool)
    for column in ENERGY_COLUMNS:
        has_energy |= sieve.number(column) > 0
    from_sensor = np.isin(source.astype(str), [one for one in set(source) if is_measured(one)])
    if not modelled and (from_sensor & has_energy).any():
        return _energy_response(sieve, from_sensor & has_energy)
    if not modelled and ((source != "simulated") & (sieve.number("time_s") > 0)).any():
        sieve.drop(source == "simulated", "simulated device")
        return "time_s"
    return _energy_response(sieve, np.isin(source.astype(str), ("model", "simulated")) & has_energy)


def _energy_response(sieve: _Sieve, wanted: Mask) -> str:
    if not wanted.any():
        raise UserError("response", "must be above zero in some row: one of " + ", ".join(RESPONSES))
    source = sieve.text("energy_source").astype(str)
    names, how_often = np.unique(source[wanted], return_counts=True)
    chosen = str(names[np.argmax(how_often)])
    for other in sorted(set(source) - {chosen}):
        sieve.drop(sieve.text("energy_source") == other, f"energy_source {other}, the fit is for {chosen}")
    filled = {column: int(np.isfinite(sieve.number(column)).sum()) for column in ENERGY_COLUMNS}
    for column, cells in filled.items():
        if cells and 2 * cells >= len(sieve.frame):
            return column
    return max(filled, key=lambda column: filled[column])
