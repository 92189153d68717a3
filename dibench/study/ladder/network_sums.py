"""A network as the sum of its layers: which row stands for each layer, and how much was measured.

Each distinct layer is measured once and counts as often as the network has it. A fit never fills in layers
that were not measured. A network counts only if its measured layers hold the required share of both its
multiply-adds and its elements (the costliest weights may have few multiply-adds); its figures are then those
of the measured layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import networks
from dibench.study.ladder.models import Data, shape_key

IntArray = NDArray[np.intp]

REQUIRED_SHARE = 0.95
"""Share of a network's multiply-adds, and of its elements, that measured layers must hold."""


@attrs.frozen(eq=False)
class NetworkSum:
    """The measured part of one network at one batch size."""

    network: str
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

    @property
    def family(self) -> str:
        """Its architecture family."""
        return networks.family(self.network)

    def holds(self, share: float) -> bool:
        """Whether rows hold that share of multiply-adds and of elements."""
        # Shares of a whole network are sums in different orders, so they are 1 only up to rounding.
        return len(self.rows) > 0 and min(self.covered_macs, self.covered_elements) * (1 + 1e-12) >= share


def network_sums(data: Data) -> Iterator[NetworkSum]:
    """Each of the 25 networks at each batch size of the rows."""
    layers_of = {name: networks.load(name) for name in networks.names()}
    shapes = sorted({shape_key(layer.shape) for layers in layers_of.values() for layer in layers})
    batches = np.unique(data.batch)
    row_of = _rows_by_shape_and_batch(data, shapes, batches)
    for name, layers in layers_of.items():
        place = np.searchsorted(shapes, [shape_key(layer.shape) for layer in layers])
        row = row_of[place]  # (layers, batches)
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
                name, int(batch), row[own, at], len(layers), found, found / macs.sum(), covered_elements[at]
            )


def _rows_by_shape_and_batch(data: Data, shapes: Sequence[str], batches: NDArray[np.float64]) -> IntArray:
    """The last row of each shape (sorted) at each batch (sorted); −1 where there is none."""
    row_of = np.full((len(shapes), len(batches)), -1, dtype=np.intp)
    names, which = np.unique(data.layer, return_inverse=True)
    place = np.searchsorted(shapes, names)
    place = np.where(np.take(shapes, place, mode="clip") == names, place, -1)[which]
    known = np.flatnonzero(place >= 0)
    row_of[place[known], np.searchsorted(batches, data.batch[known])] = known
    return row_of
