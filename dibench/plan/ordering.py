"""The order of measuring: the most informative cases first, so that every prefix of a sweep can be analysed.

Two sources take turns in filling the sequence:

1. **D-optimal picks** of layers. The model is E = e0[op]·M + e_w·W + e_x·X + e_y·Y + e_launch, fitted on
   the scale of log E; its regressors are the shares θ_j·f_j / E of the nine terms. As energies are not
   known beforehand, a pick maximises the mean of log det(information) over scenarios: alpha = e_w/(e_w+e_a)
   in ALPHAS, (e_w+e_a)/e0 in RATIOS and e_launch/e0 in LAUNCHES. Greedy, by rank-one updates.
2. **Stratified random picks** over operator × quartile of W/A; within a stratum the kernels take turns.

The sequence is cut into rounds of 24, 24, 48, 96, … and each round is shuffled.

Source of the greedy step: Fedorov, "Theory of Optimal Experiments", 1972: det(M + x·xᵀ) =
det(M)·(1 + xᵀ·M⁻¹·x), so the best pick has the largest leverage xᵀ·M⁻¹·x.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intensity import OPERATORS
from dibench.layer import Layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHAS = (0.2, 0.5, 0.8)
RATIOS = (6.0, 60.0)
LAUNCHES = (1e4, 1e7)
"""Energy of a launch, in multiply-adds: a function call on a CPU core, and a kernel start on a large GPU."""

FIRST_ROUND = 24
SENTINEL_EVERY = 20
VISIT_BLOCK = 12
"""Cases whose visits take turns: three visits of four seconds are then about a minute apart."""

PRIOR = 1e-4
"""Prior information on each log parameter: it is known within a factor of e² (1σ is 2 in log) and a
measurement is good to 2%, hence (0.02 / 2)². Nine picks outweigh it."""

_INFORMED = FIRST_ROUND * 2**6
"""After so many positions a D-optimal pick hardly changes the determinant; further picks are stratified."""

_CANDIDATES = 4096
"""Of more layers only so many are searched: optimal designs sit on points of high leverage."""


@attrs.frozen
class Unit:
    """What is measured together or not at all: one case, or both halves of an exact twin.

    `kernel` numbers the kernel, so that all are covered evenly; `informs` says that the shape models use the
    case.
    """

    layer: int  # index into the table of distinct layers
    kernel: int
    informs: bool = True


def regressors(layers: Sequence[Layer]) -> Floats:
    """Columns M by operator (five), W, X, Y and 1 of the energy model; shape (layers, 9)."""
    table = np.zeros((len(layers), len(OPERATORS) + 4))
    for row, layer in zip(table, layers, strict=True):
        row[OPERATORS.index(layer.op)] = layer.macs
        row[len(OPERATORS) :] = layer.weights, layer.inputs, layer.outputs, 1
    return table


def shares(table: Floats) -> Floats:
    """∂ log E / ∂ log θ of every layer in every scenario; shape (scenarios, layers, 9), rows sum to 1."""
    energies = [
        [1.0] * len(OPERATORS) + [alpha * ratio, (1 - alpha) * ratio, (1 - alpha) * ratio, launch]
        for alpha, ratio, launch in product(ALPHAS, RATIOS, LAUNCHES)
    ]
    terms = table[None, :, :] * np.array(energies)[:, None, :]
    return np.asarray(terms / terms.sum(axis=2, keepdims=True))


class _Information:
    """Inverse information matrices of all scenarios, and the leverage of every candidate."""

    def __init__(self, table: Floats) -> None:
        self._table = table
        self.candidates = _candidates(table)
        self._searched = shares(table[self.candidates])
        self._inverse = np.repeat(np.eye(table.shape[1])[None] / PRIOR, len(self._searched), axis=0)
        self._leverage = np.einsum("spi,spi->sp", self._searched, self._searched) / PRIOR

    def gains(self) -> Floats:
        """Rise of the mean log det by one measurement of each candidate."""
        return np.asarray(np.log1p(self._leverage).mean(axis=0))

    def add(self, layer: int) -> None:
        """One measurement of a layer: Sherman–Morrison update of inverses and leverages."""
        x = shares(self._table[[layer]])[:, 0]
        direction = np.einsum("sij,sj->si", self._inverse, x)
        scale = 1 + np.einsum("si,si->s", direction, x)
        self._inverse -= np.einsum("si,sj->sij", direction, direction) / scale[:, None, None]
        along = np.matmul(self._searched, direction[:, :, None])[:, :, 0]
        self._leverage = np.maximum(self._leverage - along**2 / scale[:, None], 0.0)


def _candidates(table: Floats) -> Ints:
    """Indices of the layers to search: half have the highest leverage, half are spread over the rest."""
    if len(table) <= _CANDIDATES:
        return np.arange(len(table))
    chunks = np.array_split(table, len(table) // _CANDIDATES + 1)  # the shares of all at once take gigabytes
    everything = sum(np.einsum("spi,spj->sij", rows, rows) for rows in map(shares, chunks))
    inverse = np.linalg.inv(everything + PRIOR * np.eye(table.shape[1]))
    leverage = np.concatenate(
        [
            np.einsum("spj,spj->p", np.matmul(rows, inverse), rows, optimize=True)
            for rows in map(shares, chunks)
        ]
    )
    ranked = np.argsort(-leverage, kind="stable")
    half = _CANDIDATES // 2
    # The highest leverages may all lie at one end of the shapes, hence the other half.
    spread = np.linspace(half, len(ranked) - 1, _CANDIDATES - half).astype(np.int64)
    return np.sort(ranked[np.concatenate([np.arange(half), spread])])


def strata(layers: Sequence[Layer]) -> Ints:
    """Stratum of each layer: operator × quartile of W/A among the layers of that operator."""
    operator = np.array([OPERATORS.index(layer.op) for layer in layers], dtype=np.int64)
    ratio = np.array([layer.weights / layer.activations for layer in layers])
    quartile = np.zeros(len(layers), dtype=np.int64)
    for code in np.unique(operator):
        members = operator == code
        quartile[members] = np.searchsorted(np.quantile(ratio[members], [0.25, 0.5, 0.75]), ratio[members])
    return operator * 4 + quartile


def stratified(stratum: Ints, kernel: Ints, rng: np.random.Generator) -> Ints:
    """A random order of all units that covers strata, and kernels within them, as evenly as possible.

    Shape of both arguments and of the result: (units,).
    """
    kernel_rank = np.unique(kernel, return_inverse=True)[1]
    kernels = int(kernel_rank.max(initial=0)) + 1
    cell = stratum * kernels + kernel_rank
    nth_of_cell = _rank_within(cell, rng.random(len(cell)))
    # Each stratum begins with another kernel, so that the first of every stratum differ.
    stratum_rank = np.unique(stratum, return_inverse=True)[1]
    turn = (kernel_rank + rng.permutation(int(stratum_rank.max(initial=0)) + 1)[stratum_rank]) % kernels
    nth_of_stratum = _rank_within(stratum, nth_of_cell * float(kernels) + turn)
    return np.lexsort((rng.random(len(stratum)), nth_of_stratum))


def _rank_within(group: Ints, key: Floats) -> Ints:
    """Rank of each element in its group by key: 0 for the smallest, 1 for the next, …"""
    order = np.lexsort((key, group))
    sorted_group = group[order]
    starts = (
        np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
        if len(group)
        else np.array([], int)
    )
    lengths = np.diff(np.r_[starts, len(group)])
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return rank


def measuring_order(layers: Sequence[Layer], units: Sequence[Unit], seed: int) -> list[int]:
    """Indices of the units in measuring order.

    The same seed gives the same order; another seed gives another order of the same units.
    """
    rng = np.random.default_rng(seed)
    sequence = _sequence(layers, units, rng)
    order: list[int] = []
    size = FIRST_ROUND
    while len(order) < len(sequence):
        members = sequence[len(order) : len(order) + size]
        order += [members[i] for i in rng.permutation(len(members))]
        size = max(FIRST_ROUND, len(order))
    return order


def _sequence(layers: Sequence[Layer], units: Sequence[Unit], rng: np.random.Generator) -> list[int]:
    """D-optimal and stratified picks in turn, before rounds are shuffled."""
    layer_of = np.array([unit.layer for unit in units], dtype=np.int64)
    kernel_of = np.array([unit.kernel for unit in units], dtype=np.int64)
    random_picks = iter(stratified(strata(layers)[layer_of], kernel_of, rng).tolist())
    waiting: defaultdict[int, list[int]] = defaultdict(list)  # informing units of each layer
    for index in rng.permutation(len(units)).tolist():
        if units[index].informs:
            waiting[units[index].layer].append(index)

    information = _Information(regressors(layers))
    open_layers = np.array([layer in waiting for layer in information.candidates.tolist()], dtype=bool)
    position_of = {layer: at for at, layer in enumerate(information.candidates.tolist())}
    measured: Counter[int] = Counter()  # picks of each kernel
    taken: set[int] = set()
    sequence: list[int] = []
    while len(sequence) < min(_INFORMED, len(units)):
        if len(sequence) % 2 == 0 and open_layers.any():
            gains = np.where(open_layers, information.gains(), -np.inf)
            layer = int(information.candidates[int(np.argmax(gains))])
            pick = min(waiting[layer], key=lambda index: measured[units[index].kernel])
        else:
            pick = next(index for index in random_picks if index not in taken)
        taken.add(pick)
        sequence.append(pick)
        measured[units[pick].kernel] += 1
        if units[pick].informs:
            # A shape is not measured again before every other has been.
            information.add(units[pick].layer)
            if units[pick].layer in position_of:
                open_layers[position_of[units[pick].layer]] = False
    sequence += [index for index in random_picks if index not in taken]
    return sequence


def in_visits(visits: Sequence[int], seed: int, block_size: int = VISIT_BLOCK) -> list[tuple[int, int]]:
    """The order of visits: (index of the case, number of its visit from 1), for so many visits to each case.

    The visits to a case are minutes apart, so that their spread shows how measurements vary with time. Cases
    are finished block by block, so that a sweep that ends early has few half-visited ones. Within a block of
    `block_size` cases with several visits, first visits keep their order and later ones are shuffled.

    >>> in_visits([1, 2, 1], seed=1)
    [(0, 1), (1, 1), (2, 1), (1, 2)]
    """
    rng = np.random.default_rng(seed)
    steps: list[tuple[int, int]] = []
    block: list[int] = []

    def finish() -> None:
        for number in range(2, max((visits[index] for index in block), default=1) + 1):
            again = [index for index in block if visits[index] >= number]
            steps.extend((again[at], number) for at in rng.permutation(len(again)))
        block.clear()

    for index, wanted in enumerate(visits):
        steps.append((index, 1))
        if wanted > 1:
            block.append(index)
        if len(block) == block_size:
            finish()
    finish()
    return steps


def with_sentinels(cases: Sequence[Any], sentinel: Any) -> list[Any]:
    """The cases with a sentinel before the first, after every SENTINEL_EVERY of them, and after the last.

    >>> with_sentinels(list(range(3)), "s")
    ['s', 0, 1, 2, 's']
    """
    result: list[Any] = []
    for start in range(0, len(cases), SENTINEL_EVERY):
        result += [sentinel, *cases[start : start + SENTINEL_EVERY]]
    return [*result, sentinel]
