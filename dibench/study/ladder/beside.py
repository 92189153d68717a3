"""Terms that real hardware asks for beside DI: multiprocessors without work, a cache that is too small, time.

Each is one more column with one cost, the same for every data type, so AI stays nested in DI with it. The
question is then whether the data type matters beyond it. Two of them have a size that the table does not
tell, a wave's blocks and the cache: it is the one of least squares of `di_split`, on a grid.

============  =================================  ======================================================
term          column                             its cost is
============  =================================  ======================================================
`occupancy`   M·(waves needed, whole / not − 1)  power of multiprocessors that wait for the last wave
`capacity`    W + A where beyond the cache       what a fetch from memory costs more than one from cache
`time`        t, in place of e_launch            constant power
============  =================================  ======================================================

The verdict is asked beside `occupancy`, `capacity` or both only where the model misses without and does not
miss with them (`suited`). Never beside `time`: it is a second measurement of the same launch, not a property
of its layer, and where power is constant it leaves nothing to explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.adequacy import Adequacy
from dibench.study.ladder.adequacy import adequacy
from dibench.study.ladder.alpha import sample
from dibench.study.ladder.models import FULL, Data, Terms, design
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.minimise import LOOSE

FloatArray = NDArray[np.float64]

OCCUPANCY, CAPACITY, TIME = "occupancy", "capacity", "time"
BOTH = "occupancy and capacity"

BLOCKS_PER_SM = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32)
"""Blocks that a multiprocessor may hold at once: 32 is the most of any NVIDIA GPU."""

FEWEST_BEYOND = 0.05
"""Least share of rows that a cache must hold, and leave out."""

CACHES = 25
"""Sizes of a cache that are tried, and twice as many around the best."""


def terms_beside(data: Data) -> dict[str, Terms]:
    """The terms that these rows can be fitted with, by name."""
    found = {}
    if (wave := wave_of(data, FULL)) is not None:
        found[OCCUPANCY] = Terms(wave=wave)
    if (cache := cache_of(data, FULL)) is not None:
        found[CAPACITY] = Terms(cache=cache)
    if wave is not None and (cache := cache_of(data, found[OCCUPANCY])) is not None:
        both = wave_of(data, Terms(cache=cache))
        found[BOTH] = Terms(wave=wave if both is None else both, cache=cache)
    if (data.time > 0).all() and np.isfinite(data.time).all():
        found[TIME] = Terms(launch=False, power=True)
    return found


def not_told(name: str, data: Data) -> str:
    """Why `terms_beside` lacks a term."""
    if name == OCCUPANCY and not (np.isfinite(data.blocks).all() and np.isfinite(data.sms).all()):
        return "the table has no grids (columns blocks, sms)"
    return {
        OCCUPANCY: "no size of a wave makes idle multiprocessors cost anything",
        CAPACITY: "no size of a cache makes layers beyond it cost more",
    }[name]


def suited(data: Data, beside: Mapping[str, Terms]) -> tuple[Terms, Adequacy]:
    """The fewest terms with which the model does not miss; none where it misses with all of them."""
    plain = adequacy(data)
    if plain.adequate is False:
        for name in (OCCUPANCY, CAPACITY, BOTH):
            if name in beside and (found := adequacy(data, beside[name])).adequate:
                return beside[name], attrs.evolve(found, beside=name, plain_miss=plain.miss)
    return FULL, plain


def wave_of(data: Data, terms: Terms) -> float | None:
    """Blocks of a wave, a multiple of the multiprocessors; None where no size costs more than nothing."""
    if not (np.isfinite(data.blocks).all() and (data.blocks > 0).all() and np.isfinite(data.sms).all()):
        return None
    waves = float(data.sms.max()) * np.array(BLOCKS_PER_SM)
    best = _least(data, [attrs.evolve(terms, wave=wave) for wave in waves.tolist()], terms, "e_idle")
    return None if best is None else float(waves[best])


def cache_of(data: Data, terms: Terms) -> float | None:
    """Elements that the cache holds; None where no size costs more than nothing."""
    footprint = data.weights + data.activations
    elements = np.unique(footprint)
    low, high = np.quantile(footprint, (FEWEST_BEYOND, 1 - FEWEST_BEYOND))
    # Between two footprints every size gives the same fit: their middle stands for all.
    sizes = np.sqrt(elements[1:] * elements[:-1])
    sizes = sizes[(sizes > low) & (sizes < high)]
    step = 1 + len(sizes) // CACHES

    def best(some: FloatArray) -> int | None:
        return _least(data, [attrs.evolve(terms, cache=size) for size in some.tolist()], terms, "e_beyond")

    if (coarse := best(sizes[::step])) is None:
        return None
    near = sizes[max(0, (coarse - 1) * step + 1) : (coarse + 1) * step]
    near = near[:: 1 + len(near) // (2 * CACHES)]
    fine = best(near)
    return None if fine is None else float(near[fine])


def _least(data: Data, sizes: Sequence[Terms], without: Terms, name: str) -> int | None:
    """Which size has least squares of `di_split`, where that term's cost is above zero; None of none."""
    data = sample(data)
    at = design("di_split", data, terms=without)
    if len(data) <= len(at.names) + 2:
        return None
    start = dict(zip(at.names, fit_log(at.columns, data.y, tolerance=LOOSE).parameters.tolist(), strict=True))
    best: tuple[float, int] | None = None
    for number, terms in enumerate(sizes):
        one = design("di_split", data, terms=terms)
        near = np.array([start.get(own, 0.0) for own in one.names])
        found = fit_log(one.columns, data.y, near=near, tolerance=LOOSE)
        if found.parameters[one.names.index(name)] > 0 and (best is None or found.rss < best[0]):
            best = found.rss, number
    return None if best is None else best[1]
