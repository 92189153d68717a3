"""The ladder: what each model says a layer costs, as columns of a design matrix.

Every rung but `time` carries one e₀ per operator and e_launch:

=============  =======================================================================================
`macs`         E = e₀[op]·M + e_launch
`time`         E = power·t
`ai`           E = e₀[op]·M + e·(W + A) + e_launch
`di_weighted`  E = e₀[op]·M + e_w·W + e_a·A + e_launch, α = e_w / (e_w + e_a)
`di_disjoint`  E = e₀[op]·M + k·M/DI_α + e_launch, DI_α = α·M/W + (1−α)·M/A
`di_split`     E = e₀[op]·M + e_w·W + e_x·X + e_y·Y + e_launch
`di_occupancy` E = di_weighted + e_idle·(MACs that idle multiprocessors could have done), see `beside`
`di_capacity`  E = di_weighted + e_beyond·(W + A where the cache does not hold it)
`effective`    E = e₀[op]·M_executed + e_w·W_read + e_x·X_read + e_y·(Y_read + Y_written) + e_launch
=============  =======================================================================================

M multiply-adds, W weights, A = X + Y activations (inputs, outputs): compulsory counts, except in `effective`,
which counts what a kernel really accesses and so describes every kernel, not only the fastest. t is the time
per launch; the instances of one launch share its cost. `ai` is `di_weighted` with e_w = e_a, that is α = ½,
and `di_weighted` is `di_split` with e_x = e_y.

A whole network may be one row: M, W, X and Y are then sums over its layers, e₀ goes by the multiply-adds of
each operator, and there is an e_launch for each layer. Where rows do not say so much, all operators have one
e₀, and a network one e_launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.study.maths.labels import Labels, labelled
from dibench.study.table.columns import counts, is_network, macs_by_operator, numbers, shapes, texts
from dibench.study.table.families import first_family, network_of
from dibench.study.table.row_errors import NO_REPEATS, Repeats, row_errors

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

MODELS = ("macs", "time", "ai", "di_weighted", "di_disjoint", "di_split")
"""Models on compulsory counts, of one kernel per operator; `effective` is fitted to all kernels."""

FORMULAS = {
    "macs": "E = e0[op]*M + e_launch",
    "time": "E = power*t",
    "ai": "E = e0[op]*M + e*(W + A) + e_launch",
    "di_weighted": "E = e0[op]*M + e_w*W + e_a*A + e_launch; alpha = e_w/(e_w + e_a)",
    "di_disjoint": "E = e0[op]*M + k*M/DI + e_launch; DI = alpha*M/W + (1 - alpha)*M/A",
    "di_split": "E = e0[op]*M + e_w*W + e_x*X + e_y*Y + e_launch",
    "di_occupancy": "E = di_weighted + e_idle*M*(waves in whole / waves - 1)",
    "di_capacity": "E = di_weighted + e_beyond*(W + A where it is more than the cache)",
    "effective": "E = e0[op]*M_executed + e_w*W_read + e_x*X_read + e_y*(Y_read + Y_written) + e_launch",
}


@attrs.frozen
class Data:
    """What the models see of the rows: arrays of one length n."""

    y: FloatArray
    """Response: joules or seconds per launch and instance."""
    time: FloatArray
    """Seconds; not a number where the table has none."""
    macs: FloatArray
    weights: FloatArray
    inputs: FloatArray
    outputs: FloatArray
    accesses: FloatArray
    """(n, 4): multiply-adds executed, weights read, inputs read, partial sums and outputs read or written;
    not numbers where the table does not count them."""
    baseline: FloatArray
    """Half-width of the response's 95% interval due to the subtracted idle power, which all rows share; zero
    if none was subtracted."""
    launch: FloatArray
    """Share of a launch: 1 / instances; of a network its layers, where all rows count them."""
    by_operator: FloatArray
    """(n, operators): multiply-adds of each; not numbers where a network's row does not say."""
    batch: FloatArray
    op: Labels
    layer: Labels
    """The shape without batch: rows of one layer at several batches share it. Of a network name and input."""
    network: Labels
    """The network of the row's name, the first where there are several; empty where it has none."""
    family: Labels
    """The first family that the row itself names; empty where it names none."""
    error: FloatArray
    """Standard deviation of log y by the row's interval and by repeats; not a number where nothing tells."""
    blocks: FloatArray
    """Of threads in the launch's grid; not a number where the table has none."""
    sms: FloatArray
    """Multiprocessors that the launch used; likewise."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def activations(self) -> FloatArray:
        """A = X + Y."""
        return self.inputs + self.outputs

    def only(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Data:
        """The same for some of the rows."""
        if isinstance(rows, np.ndarray) and rows.dtype == bool and rows.all():
            return self
        return Data(*(array[rows] for array in attrs.astuple(self, recurse=False)))


def data_of(frame: pd.DataFrame, response: str, repeated: Repeats = NO_REPEATS) -> Data:
    """The arrays of the rows of a selection; `repeated` is what repeats of cases say of their errors."""
    count = counts(frame)
    names = texts(frame, "name")
    return Data(
        y=numbers(frame, response),
        time=numbers(frame, "time_s"),
        macs=count["macs"],
        weights=count["weights"],
        inputs=count["inputs"],
        outputs=count["outputs"],
        accesses=np.column_stack(
            [
                numbers(frame, "macs_executed"),
                numbers(frame, "weight_reads"),
                numbers(frame, "input_reads"),
                numbers(frame, "output_reads") + numbers(frame, "output_writes"),
            ]
        ),
        baseline=_baseline(numbers(frame, "ci_baseline_j"), response),
        launch=_launches(frame),
        by_operator=macs_by_operator(frame),
        batch=numbers(frame, "N"),
        op=labelled(frame["op"]),
        layer=shapes(frame),
        network=np.where(is_network(frame), names, labelled(names, network_of)),
        family=labelled(texts(frame, "family"), first_family),
        error=row_errors(frame, response, repeated),
        blocks=numbers(frame, "blocks"),
        sms=numbers(frame, "sms"),
    )


def _launches(frame: pd.DataFrame) -> FloatArray:
    layers, instances = numbers(frame, "layers"), numbers(frame, "instances")
    if len(frame) and is_network(frame).all() and (layers > 0).all():
        return layers
    return np.asarray(1 / np.where(instances >= 1, instances, 1.0))


def _baseline(half_width: FloatArray, response: str) -> FloatArray:
    subtracted = response.startswith("energy_above")
    return np.nan_to_num(half_width) if subtracted else np.zeros(len(half_width))


@attrs.frozen
class Design:
    """Coefficient names, the unit each is per, and the matrix Z (n, k) with E = Z·θ."""

    names: tuple[str, ...]
    per: tuple[str, ...]
    columns: FloatArray


@attrs.frozen
class Terms:
    """Which common terms a fit has. The study uses all; fewer show how sensitive α is to them."""

    launch: bool = True
    e0_per_operator: bool = True
    power: bool = False
    """Constant power times time; never together with e_launch, as rows hardly tell the two apart."""
    wave: float | None = None
    """Blocks that run at once, for the term of idle multiprocessors (`idle_macs`); None leaves it out."""
    cache: float | None = None
    """Elements that the cache holds, for the term of `beyond_cache`; None leaves it out."""


FULL = Terms()


def design(model: str, data: Data, alpha: float = 0.5, terms: Terms = FULL) -> Design:
    """The design of a model on these rows; `alpha` matters to `di_disjoint` only.

    Operators without a row have no column.
    """
    if model == "time":
        return Design(("power",), ("second",), data.time[:, None])
    if model == "effective":
        _, weights, inputs, outputs = data.accesses.T
        reads = [("e_w", "weight read", weights), ("e_x", "input read", inputs)]
        parts = [*_mac_terms(data, terms, executed=True), *reads, ("e_y", "output access", outputs)]
        return _with_launch(parts, data, terms)
    parts = _mac_terms(data, terms)
    if model == "ai":
        parts.append(("e", "element", data.weights + data.activations))
    elif model == "di_weighted":
        parts += [("e_w", "weight", data.weights), ("e_a", "activation", data.activations)]
    elif model == "di_split":
        operands = (("e_w", "weight", data.weights), ("e_x", "input", data.inputs))
        parts += [*operands, ("e_y", "output", data.outputs)]
    elif model == "di_disjoint":
        parts.append(("k", "MAC/DI", per_di_disjoint(data, alpha)))
    elif model != "macs":
        raise ValueError(f"no such model: {model}")
    return _with_launch(parts, data, terms)


def fixed_alpha(data: Data, alpha: float, terms: Terms = FULL) -> Design:
    """`di_weighted` with α given: one coefficient s of α·W + (1−α)·A, so that e_w = s·α and e_a = s·(1−α)."""
    column = alpha * data.weights + (1 - alpha) * data.activations
    return _with_launch([*_mac_terms(data, terms), ("s", "element", column)], data, terms)


def weights_like_inputs(data: Data, terms: Terms = FULL) -> Design:
    """`di_split` with one coefficient for weights and inputs: the hypothesis that only outputs differ."""
    operands = (("e_wx", "element", data.weights + data.inputs), ("e_y", "output", data.outputs))
    return _with_launch([*_mac_terms(data, terms), *operands], data, terms)


def per_di_disjoint(data: Data, alpha: float) -> FloatArray:
    """M / DI_α of the disjoint form, in elements: W at α = 1, A at α = 0."""
    return np.asarray(data.macs / intensity.di_disjoint(data.macs, data.weights, data.activations, alpha))


def per_di_disjoint_slope(data: Data, alpha: float) -> FloatArray:
    """Its derivative by α: −(M/DI_α)²·(1/W − 1/A)."""
    return np.asarray(-(per_di_disjoint(data, alpha) ** 2) * (1 / data.weights - 1 / data.activations))


def idle_macs(data: Data, wave: float) -> FloatArray:
    """M·(waves / needed − 1): what multiprocessors without a block could have done while the launch ran.

    `needed` waves are blocks / wave, and a launch lasts for whole ones. The reading of its coefficient: power
    that flows whether a multiprocessor works or not. Zero where waves are full.
    """
    needed = data.blocks / wave
    return np.asarray(data.macs * (np.ceil(needed) / needed - 1))


def beyond_cache(data: Data, cache: float) -> FloatArray:
    """W + A of a layer that the cache does not hold, else zero: each launch fetches all of it again.

    A cache that drops what was used longest ago loses every element before the next launch asks for it, as
    soon as they do not all fit. The reading of its coefficient: what an element from memory costs more than
    one from the cache, whatever its data type.
    """
    elements = data.weights + data.activations
    return np.where(elements > cache, elements, 0.0)


def _mac_terms(data: Data, terms: Terms, *, executed: bool = False) -> list[tuple[str, str, FloatArray]]:
    macs = data.accesses[:, 0] if executed else data.macs
    if not terms.e0_per_operator:
        return [("e0", "MAC", macs)]
    own = data.by_operator
    if not np.isfinite(own).all():  # networks of which some do not say what their operators do
        return [("e0", "MAC", macs)]
    if executed:
        own = np.where(own > 0, macs[:, None], 0.0)
    columns = zip(intensity.OPERATORS, own.T, strict=True)
    return [(f"e0[{op}]", "MAC", column) for op, column in columns if column.any()]


def _with_launch(parts: list[tuple[str, str, FloatArray]], data: Data, terms: Terms) -> Design:
    if terms.launch:
        parts = [*parts, ("e_launch", "launch", data.launch)]
    if terms.power:
        parts = [*parts, ("power", "second", data.time)]
    if terms.wave is not None:
        parts = [*parts, ("e_idle", "idle MAC", idle_macs(data, terms.wave))]
    if terms.cache is not None:
        parts = [*parts, ("e_beyond", "element beyond the cache", beyond_cache(data, terms.cache))]
    names, per, columns = zip(*parts, strict=True)
    return Design(names, per, np.column_stack(columns))
