"""A layer's case on the GPU: its kernel, its operands in a ring of replicas, its launches as graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dibench.backends import cuda_gpu
from dibench.backends.cuda_buffers import Layout, Station, ring
from dibench.backends.cuda_gpu import MOST_NODES, Graph, Launch
from dibench.backends.operands import (
    as_shaped,
    as_values,
    element_type,
    in_memory,
    memory_shape,
    operand_shapes,
)
from dibench.kernels import Variant, compilers
from dibench.kernels.compilers import Geometry
from dibench.schema import pack_knobs, unpack_knobs

if TYPE_CHECKING:
    from dibench.plan import Case

_MOST_GRAPHS = 64
_LEAST_ARCH_OF_L1 = 70  # before it L2 serves every load that is executed as written (csrc/cuda/access.cuh)


class CudaCase:
    """One case on the GPU: its kernel, and a ring of replicas of its operands (one, unless it is cold).

    Launches go around the ring, so that a cold one finds its operands in no cache: those of the launches
    since it last touched them were more than the second-level cache holds, COLD_L2S times.
    """

    def __init__(
        self,
        station: Station,
        case: Case,
        variant: Variant,
        kernel: cuda_gpu.LoadedKernel,
        geometry: Geometry,
    ) -> None:
        self.counts: Mapping[str, int] = variant.counts_for(case.layer, case.knobs)
        used = {"sms": min(geometry.grid, station.gpu.sms), "blocks": geometry.grid}
        self.cells: Mapping[str, Any] = {**used, **_served(case, station)}
        self._station, self._context, self._case = station, station.context, case
        self._kernel, self._geometry = kernel, geometry
        self._layout, self._memory = Layout.of(case), variant.layout
        self.ring = ring(self._layout.used_bytes, station.gpu.l2_bytes if case.cold else 0)
        # Launches run one after the other, so those of all replicas share one workspace.
        needed = self._layout.stride * self.ring.replicas + (geometry.workspace_bytes or 0)
        self._buffer = station.context.allocate(needed, _field(case))
        self.lap = self.ring.replicas
        self._graphs: dict[tuple[int, int], Graph] = {}
        self._position = 0
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all by the GPU's events, without launch overhead.

        Raises:
            OutOfMemoryError, DeviceError: the GPU cannot launch it.
            DeviceFaultError: the kernel faulted.
        """
        graphs, start, left = [], self._position, n
        while left:
            size = min(left, MOST_NODES)
            graphs.append(self._graph(start, size))
            start, left = (start + size) % self.ring.replicas, left - size
        self._position = self.ring.after(start, n)
        return self._context.seconds(graphs, self._station.gate)

    def operands(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """x and w by the axes of `operand_shapes`: float32, or the bits of a 16-bit type as uint16."""
        return self._station.operands.of(self._case)

    def compute(self) -> npt.NDArray[Any]:
        """The outputs of one launch, as numbers. They are NaN before it: one that is never written shows."""
        shape = operand_shapes(self._case.layer, self._case.instances)[2]
        y = np.empty(memory_shape(shape, self._memory), element_type(self._case.dtype))
        pointer = self._buffer.pointer + self._layout.y
        self._context.fill(pointer, 0xFF, y.nbytes)
        self._position = 0
        self.launch(1)
        self._context.read(pointer, y)
        return as_values(as_shaped(y, self._memory), self._case.dtype)

    def launch_profiled(self) -> None:
        """Launch until the operands are where they belong, then once with the profiler watching."""
        self.launch(self.ring.replicas)
        self._context.profile(self._launch(self._position))

    def close(self) -> None:
        """Give the operands' memory back."""
        self._graphs.clear()
        self._buffer.close()

    def _fill(self) -> None:
        x, w = (in_memory(elements, self._memory) for elements in self.operands())
        first = self._buffer.pointer
        self._context.fill(first, 0, self._layout.stride)
        if workspace := self._geometry.workspace_bytes:
            self._context.fill(self._workspace, 0, workspace)
        self._context.write(first + self._layout.x, x)
        self._context.write(first + self._layout.w, w)
        done = 1  # the other replicas are copies; their number doubles each time
        while done < self.ring.replicas:
            size = min(done, self.ring.replicas - done)
            self._context.copy(first + done * self._layout.stride, first, size * self._layout.stride)
            done += size

    @property
    def _workspace(self) -> int:
        return self._buffer.pointer + self.ring.replicas * self._layout.stride

    def _graph(self, start: int, size: int) -> Graph:
        """`size` launches around the ring from a replica on."""
        key = (start, size)
        if key not in self._graphs:
            if len(self._graphs) >= _MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            replicas = self.ring.replicas
            unique = [self._launch((start + i) % replicas) for i in range(min(size, replicas))]
            self._graphs[key] = self._context.capture([unique[i % replicas] for i in range(size)])
        return self._graphs[key]

    def _launch(self, replica: int) -> Launch:
        at, layout = self._buffer.pointer + replica * self._layout.stride, self._layout
        addresses = [at + layout.x, at + layout.w, at + layout.y]
        if self._geometry.workspace_bytes is not None:
            addresses.append(self._workspace)
        arguments = compilers.kernel_arguments(self._case.layer, self._case.instances, *addresses)
        return Launch(self._kernel, self._geometry, arguments)


def _served(case: Case, station: Station) -> Mapping[str, str]:
    """The cell `knobs` with the cache that serves loads, where it is not the one that the case asks for."""
    if station.gpu.arch >= _LEAST_ARCH_OF_L1 or case.knobs.get("cache") != "ca":
        return {}
    return {"knobs": pack_knobs({**unpack_knobs(case.row().knobs), "cache": "cg"})}


def _field(case: Case) -> str:
    return "instances" if case.instances > 1 else "cold" if case.cold else "layer"
