"""What cases on a GPU share, and where their operands lie: layout, elements, a ring that makes them cold."""

from __future__ import annotations

import math
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import numpy.typing as npt

from dibench.backends import cuda_driver, cuda_gpu
from dibench.backends.operands import as_elements, as_shaped, memory_shape, operand, operand_shapes
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.kernels import LAYOUTS, registry

if TYPE_CHECKING:
    from dibench.plan import Case

COLD_L2S = 4
"""A cold launch's operands were last touched this many L2 sizes of traffic ago."""

ALIGNMENT = 256
"""Bytes: what cudaMalloc guarantees, and more than any vector access needs."""

_MOST_REPLICAS = 8192
_CASES_AHEAD = 2  # the one to be prepared now, and the one after it
_MOST_AHEAD = 2**30  # bytes of a case's operands that the host keeps


@attrs.frozen
class Station:
    """What every case on one GPU uses."""

    gpu: cuda_driver.Gpu
    context: cuda_gpu.Context
    gate: cuda_gpu.Launch
    """Holds the stream while graphs are enqueued."""
    operands: Operands


@attrs.frozen
class Layout:
    """Offsets of the operands within a replica, and the stride from one replica to the next, in bytes."""

    x: int
    w: int
    y: int
    used_bytes: int
    stride: int

    @classmethod
    def of(cls, case: Case) -> Layout:
        """Inputs, weights, outputs one behind the other, each aligned."""
        layer = case.layer
        elements = (layer.inputs, layer.weights, layer.outputs)
        sizes = [operand_bytes(case.instances * one, case.dtype) for one in elements]
        begins = [0]
        for size in sizes:
            begins.append(begins[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
        return cls(begins[0], begins[1], begins[2], sum(sizes), begins[3])


@attrs.frozen
class Ring:
    """How many replicas of the operands launches go around, and where a window of launches may begin.

    After a window of a lap or more the next one begins at a multiple of `step`, so that a few graphs serve
    all. That skips fewer than `step` replicas per lap, so the ring holds `step` more than it takes to
    replace the whole L2.
    """

    replicas: int
    step: int

    def after(self, position: int, launches: int) -> int:
        """Where the next window begins after one of so many launches that ended before `position`."""
        step = self.step if launches >= self.replicas else 1
        return -(-position // step) * step % self.replicas


def ring(used_bytes: int, l2_bytes: int) -> Ring:
    """The ring for launches that touch `used_bytes`; an `l2_bytes` of 0 asks for one replica, warm.

    >>> ring(1000, 0), ring(10_000_000, 50_000_000), ring(900_000_000, 50_000_000)
    (Ring(replicas=1, step=1), Ring(replicas=24, step=4), Ring(replicas=1, step=1))

    Raises:
        UserError: so small a footprint that it would need more than _MOST_REPLICAS.
    """
    needed = -(-COLD_L2S * l2_bytes // used_bytes)
    if needed <= 1:
        return Ring(1, 1)
    step = 2 ** int(math.log2(max(1, needed // 4)))
    replicas = -(-(needed + step) // step) * step
    if replicas > _MOST_REPLICAS:
        least = -(-COLD_L2S * l2_bytes // (_MOST_REPLICAS * 3 // 4))
        rule = f"needs operands of at least {least} bytes per launch on this GPU: launch more instances"
        raise UserError("cold", rule, used_bytes)
    return Ring(replicas, step)


Drawn = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class Operands:
    """Values of x and w as the kernel reads them; the next case's are drawn while one is measured."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="operands")
        self._ahead: dict[Hashable, Future[Drawn]] = {}

    def draw_ahead(self, case: Case) -> None:
        """Begin to draw the values of the case that comes next, unless they would take too much memory."""
        key = _values_of(case)
        if key not in self._ahead and Layout.of(case).used_bytes <= _MOST_AHEAD:
            if len(self._ahead) >= _CASES_AHEAD:
                del self._ahead[next(iter(self._ahead))]  # was never used
            self._ahead[key] = self._pool.submit(_draw, case)

    def of(self, case: Case) -> Drawn:
        """Float32, or the bits of a 16-bit type as uint16."""
        drawn = self._ahead.pop(_values_of(case), None)
        return _draw(case) if drawn is None else drawn.result()


def _values_of(case: Case) -> Hashable:
    return case.layer.shape, case.instances, case.dtype, case.data, case.seed, _layout(case)


def _layout(case: Case) -> str:
    variant = registry("cuda").get(case.variant)
    return variant.layout if variant else LAYOUTS[0]


def _draw(case: Case) -> Drawn:
    """Drawn as they lie in memory, so that a large operand need not be turned around."""
    layout = _layout(case)
    shapes = (memory_shape(shape, layout) for shape in operand_shapes(case.layer, case.instances)[:2])
    x, w = (operand(shape, case.data, case.seed, which) for which, shape in enumerate(shapes))
    return as_shaped(as_elements(x, case.dtype), layout), as_shaped(as_elements(w, case.dtype), layout)
