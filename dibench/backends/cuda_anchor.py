"""An anchor kernel as a case: one buffer, launches of a fixed size, counts from its header."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dibench.backends import cuda_gpu
from dibench.backends.cuda_buffers import Station
from dibench.backends.cuda_gpu import MOST_NODES, Buffer, Graph, Launch
from dibench.backends.operands import operand
from dibench.kernels.anchors import Anchor
from dibench.kernels.compilers import Geometry

if TYPE_CHECKING:
    from dibench.plan import Case

_DRAWN = 2**20
"""Elements drawn; the rest of a buffer repeats them."""


def anchor_launch(
    kernel: cuda_gpu.LoadedKernel, anchor: Anchor, buffer: Buffer, blocks: int, elements: int, passes: int
) -> Launch:
    """One launch of `name(float* buffer, long long elements, int passes)`."""
    arguments = (ctypes.c_void_p(buffer.pointer), ctypes.c_longlong(elements), ctypes.c_int(passes))
    return Launch(kernel, Geometry(blocks, anchor.block, 0), arguments)


class PreparedAnchor:
    """An anchor on the GPU, with the blocks that its share of the multiprocessors needs."""

    def __init__(
        self,
        station: Station,
        case: Case,
        anchor: Anchor,
        kernel: cuda_gpu.LoadedKernel,
        blocks: int,
    ) -> None:
        gpu, context = station.gpu, station.context
        elements, size = anchor.launch_size(blocks=blocks, l2_bytes=gpu.l2_bytes)
        counted = anchor.counts_for(blocks=blocks, elements=elements, passes=anchor.passes)
        self.counts: Mapping[str, int] = {
            "macs_executed": counted["macs_executed"],
            "weight_reads": 0,
            "input_reads": counted["reads"],
            "output_reads": 0,
            "output_writes": counted["writes"],
        }
        self.cells: Mapping[str, Any] = {"sms": min(blocks, gpu.sms)}
        self._context, self._gate = context, station.gate
        self._buffer = context.allocate(4 * size, anchor.name)
        self._graphs: dict[int, Graph] = {}
        self._launch = anchor_launch(kernel, anchor, self._buffer, blocks, elements, anchor.passes)
        try:
            self._fill(operand((min(size, _DRAWN),), case.data, case.seed, 0))
        except BaseException:
            self.close()
            raise

    def _fill(self, values: npt.NDArray[np.float32]) -> None:
        """Fill the buffer with copies of these values, since energy depends on the bits that move."""
        first, done = self._buffer.pointer, values.nbytes
        self._context.write(first, values)
        while done < self._buffer.nbytes:
            size = min(done, self._buffer.nbytes - done)
            self._context.copy(first + done, first, size)
            done += size

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all by the GPU's events, without launch overhead.

        Raises:
            OutOfMemoryError, DeviceError: the GPU cannot launch it.
            DeviceFaultError: the kernel faulted.
        """
        full, rest = divmod(n, MOST_NODES)
        sizes = [MOST_NODES] * full + ([rest] if rest else [])
        for size in set(sizes) - set(self._graphs):
            self._graphs[size] = self._context.capture([self._launch] * size)
        return self._context.seconds([self._graphs[size] for size in sizes], self._gate)

    def close(self) -> None:
        """Give the buffer's memory back."""
        self._graphs.clear()
        self._buffer.close()
