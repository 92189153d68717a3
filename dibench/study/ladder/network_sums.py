"""A network as the sum of its layers: which row stands for each layer, and how much was measured.

Each distinct layer is measured once and counts as often as the network has it. A fit never fills in layers
that were not measured. A network counts only if its measured layers hold the required share of both its
multiply-adds and its elements (the costliest weights may have few multiply-adds); its figures are then those
of the measured layers. A row of a whole network is its own sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import Layer
from dibench.schema import NETWORK
from dibench.study.ladder.models import Data
from dibench.study.maths.labels import distinct
from dibench.study.table.catalogue import Catalogue, the_25
from dibench.study.table.columns import shape_key

IntArray = NDArray[np.intp]


@attrs.frozen(eq=False)
class NetworkSum:
    """The measured part of one network at one batch size."""

    network: str
    family: str
    batch: int
    rows: IntArray
    """The row of each layer that has one, in the network's order; layers of one shape repeat it."""
    layers: int
    """Of the whole network, repeats included."""
    macs: float
    """Multiply-adds per inference of the layers that have rows."""
    covered_macs: float
    covered_elements: float
    """Shares of the network's multiply-adds and of its W + X + Y at that batch."""

    def holds(self, share: float) -> bool:
        """Whether rows hold that share of multiply-adds and of elements."""
        # Shares of a whole network are sums in different orders, so they are 1 only up to rounding.
        return len(self.rows) > 0 and min(self.covered_macs, self.covered_elements) * (1 + 1e-12) >= share


def network_sums(data: Data, catalogue: Catalogue | None = None) -> Iterator[NetworkSum]:
    """Each network of the catalogue, by default of the 25, at each batch size of the rows."""
    catalogue = catalogue or the_25()
    if (data.op == NETWORK).any():
        yield from _measured_whole(data, catalogue)
        return
    shapes = catalogue.shapes_of(*catalogue.layers)
    batches = np.unique(data.batch)
    row_of = _rows_by_shape_and_batch(data, shapes, batches)
    for name, layers in catalogue.layers.items():
        row = _rows_of(layers, row_of, shapes, batches)
        has = row >= 0
        macs = np.array([layer.macs for layer in layers], dtype=np.float64)
        weights = np.array([layer.weights for layer in layers], dtype=np.float64)
        activations = np.array([layer.activations for layer in layers], dtype=np.float64)
        elements = weights[:, None] + activations[:, None] * batches
        covered_elements = (elements * has).sum(axis=0) / elements.sum(axis=0)
        for at, batch in enumerate(batches.tolist()):
            own = has[:, at]
            found = float(macs @ own)
            yield NetworkSum(
                network=name,
                family=catalogue.family[name],
                batch=int(batch),
                rows=row[own, at],
                layers=len(layers),
                macs=found,
                covered_macs=found / macs.sum(),
                covered_elements=covered_elements[at],
            )


def _measured_whole(data: Data, catalogue: Catalogue) -> Iterator[NetworkSum]:
    """Each row of a named network; one that was measured at several inputs is called by them, too."""
    inputs = Counter(network for network, _ in set(zip(data.network, data.layer, strict=True)))
    several = {network for network, number in inputs.items() if number > 1}
    for row, (network, label, n) in enumerate(zip(data.network, data.layer, data.batch, strict=True)):
        if network in catalogue.family:
            batch = int(n) if n >= 1 else 1
            yield NetworkSum(
                network=str(label if network in several else network),
                family=catalogue.family[network],
                batch=batch,
                rows=np.array([row], dtype=np.intp),
                layers=int(max(data.launch[row], 1)),
                macs=float(data.macs[row]) / batch,
                covered_macs=1.0,
                covered_elements=1.0,
            )


def _rows_of(
    layers: Sequence[Layer], row_of: IntArray, shapes: Sequence[str], batches: NDArray[np.float64]
) -> IntArray:
    """The row (layers, batches) of each layer, whose N is that of one image; −1 where there is none."""
    place = np.searchsorted(shapes, [shape_key(layer.shape) for layer in layers])
    wanted = np.array([layer.N for layer in layers])[:, None] * batches
    column = np.minimum(np.searchsorted(batches, wanted), len(batches) - 1)
    return np.where(batches[column] == wanted, row_of[place[:, None], column], -1)


def _rows_by_shape_and_batch(data: Data, shapes: Sequence[str], batches: NDArray[np.float64]) -> IntArray:
    """The last row of each shape (sorted) at each batch (sorted); −1 where there is none."""
    row_of = np.full((len(shapes), len(batches)), -1, dtype=np.intp)
    names, which = distinct(data.layer)
    place_of = {shape: place for place, shape in enumerate(shapes)}
    place = np.array([place_of.get(name, -1) for name in names.tolist()], dtype=np.intp)[which]
    known = np.flatnonzero(place >= 0)
    row_of[place[known], np.searchsorted(batches, data.batch[known])] = known
    return row_of
