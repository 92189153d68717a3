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

from collections.abc import Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.adequacy import Adequacy
from dibench.study.ladder.adequacy import adequacy
from dibench.study.ladder.models import FULL, Data, Terms, design
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.minimise import LOOSE

FloatArray = NDArray[np.float64]

OCCUPANCY, CAPACITY, TIME = "occupancy", "capacity", "time"
BOTH = "occupancy and capacity"

NOT_TOLD = {
    OCCUPANCY: "the table has no grids (columns blocks, sms)",
    CAPACITY: "footprints do not tell a cache",
}
"""Why a rung cannot be fitted."""

BLOCKS_PER_SM = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32)
"""Blocks that a multiprocessor may hold at once: 32 is the most of any NVIDIA GPU."""

FEWEST_BEYOND = 0.05
"""Least share of rows that a cache must hold, and leave out."""

CACHES = 25
"""Sizes of a cache that are tried, evenly by logarithm."""


def terms_beside(data: Data) -> dict[str, Terms]:
    """The terms that these rows can be fitted with, by name."""
    found = {}
    if (wave := wave_of(data, FULL)) is not None:
        found[OCCUPANCY] = Terms(wave=wave)
    if (cache := cache_of(data, FULL)) is not None:
        found[CAPACITY] = Terms(cache=cache)
    if wave is not None and (cache := cache_of(data, found[OCCUPANCY])) is not None:
        found[BOTH] = Terms(wave=wave_of(data, Terms(cache=cache)), cache=cache)
    if (data.time > 0).all() and np.isfinite(data.time).all():
        found[TIME] = Terms(launch=False, power=True)
    return found


def suited(data: Data, beside: dict[str, Terms]) -> tuple[Terms, Adequacy]:
    """The fewest terms with which the model does not miss; none where it misses with all of them."""
    plain = adequacy(data)
    if plain.adequate is False:
        for name in (OCCUPANCY, CAPACITY, BOTH):
            if name in beside and (found := adequacy(data, beside[name])).adequate:
                return beside[name], attrs.evolve(found, beside=name, plain_miss=plain.miss)
    return FULL, plain


def wave_of(data: Data, terms: Terms) -> float | None:
    """Blocks of a wave, a multiple of the multiprocessors; None where the table has no grids or no waits."""
    if not (np.isfinite(data.blocks).all() and (data.blocks > 0).all() and np.isfinite(data.sms).all()):
        return None
    waves = (data.sms.max() * blocks for blocks in BLOCKS_PER_SM)
    return _least(data, [(wave, attrs.evolve(terms, wave=float(wave))) for wave in waves])


def cache_of(data: Data, terms: Terms) -> float | None:
    """Elements that the cache holds; None where footprints do not tell."""
    elements = np.unique(data.weights + data.activations)
    low, high = np.quantile(data.weights + data.activations, (FEWEST_BEYOND, 1 - FEWEST_BEYOND))
    if not low < high:
        return None

    def best(sizes: FloatArray) -> float | None:
        return _least(data, [(size, attrs.evolve(terms, cache=float(size))) for size in sizes.tolist()])

    coarse = np.geomspace(low, high, CACHES)
    if (first := best(coarse)) is None:
        return None
    # Between two footprints every size gives the same fit: their middle stands for all.
    step = coarse[1] / coarse[0]
    near = elements[(elements >= first / step) & (elements <= first * step)]
    return best(np.sqrt(near[1:] * near[:-1])[:: 1 + len(near) // CACHES]) if len(near) > 1 else first


def _least(data: Data, sizes: Iterable[tuple[float, Terms]]) -> float | None:
    """The size of least squares; None where rows are too few."""
    best: tuple[float, float] | None = None
    for size, terms in sizes:
        at = design("di_split", data, terms=terms)
        if len(data) <= len(at.names) + 1:
            return None
        rss = fit_log(at.columns, data.y, tolerance=LOOSE).rss
        if best is None or rss < best[0]:
            best = rss, float(size)
    return None if best is None else best[1]
