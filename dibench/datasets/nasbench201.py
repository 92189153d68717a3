"""The layers of a network of NAS-Bench-201 (Dong and Yang, ICLR 2020), from the text of its cell.

Every network is a stem, five cells of 16 channels, a residual block that halves the map, five of 32, another
block, five of 64, and a classifier. A cell has four nodes; six operations lead from earlier nodes to later
ones, written as `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, where `~0` is the cell's input.
"""

from __future__ import annotations

import attrs

from dibench.errors import UserError
from dibench.layer import Layer

_CHANNELS = (16, 32, 64)
_CELLS = 5
_INPUT, _OUTPUT = 0, 3
_NONE = "none"
_KERNELS = {"nor_conv_3x3": 3, "nor_conv_1x1": 1, "avg_pool_3x3": 0, "skip_connect": 0, _NONE: 0}
"""Filter size of each operation; 0: no convolution."""
_SOURCES = ((0,), (0, 1), (0, 1, 2))


@attrs.frozen
class Task:
    """The input of one image, and the classes."""

    C: int
    H: int
    W: int
    classes: int


@attrs.frozen
class Cell:
    """What of a cell is executed."""

    kernels: tuple[int, ...]
    """Filter sizes of its convolutions, sorted: counts do not depend on where they stand."""
    needs_input: bool
    """Whether its output depends on its input; else only the last cell of a network matters."""


def read_cell(text: str, *, pruned: bool = False) -> Cell:
    """A cell as a runtime executes it.

    Args:
        text: of the cell.
        pruned: without what never reaches the output, as converters leave it out; else all, as it is written.

    Raises:
        UserError: the text is no cell.

    >>> text = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"
    >>> read_cell(text).kernels, read_cell(text, pruned=True).kernels
    ((1, 3), ())
    """
    operations = _operations(text)
    if not pruned:
        return Cell(tuple(sorted(_KERNELS[name] for name, _, _ in operations if _KERNELS[name])), True)
    reaches = {_OUTPUT}
    for name, source, node in reversed(operations):  # later nodes come last
        if name != _NONE and node in reaches:
            reaches.add(source)
    kept = [_KERNELS[name] for name, _, node in operations if _KERNELS[name] and node in reaches]
    return Cell(tuple(sorted(kept)), _INPUT in reaches)


def _operations(text: str) -> list[tuple[str, int, int]]:
    """Name, from which node, to which node."""
    nodes = [node.strip("|").split("|") for node in text.split("+")]
    found = [
        (name, int(source), number)
        for number, node in enumerate(nodes, start=1)
        for name, _, source in (one.partition("~") for one in node)
        if name in _KERNELS and source.isdecimal()
    ]
    if [(source, node) for _, source, node in found] != [
        (source, node) for node, sources in enumerate(_SOURCES, start=1) for source in sources
    ]:
        known = ", ".join(_KERNELS)
        raise UserError("cell", f"must be |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with op of {known}", text)
    return found


def layers_of(cell: Cell, task: Task) -> tuple[Layer, ...]:
    """The convolution and linear layers of the network that repeats a cell, at batch 1.

    >>> len(layers_of(Cell((3,), True), Task(3, 32, 32, 10)))
    23
    """
    H, W, before = task.H, task.W, _CHANNELS[0]
    found = [_conv(task.C, before, H, W, 3)]
    for channels in _CHANNELS:
        if channels != before:
            half = ((H + 1) // 2, (W + 1) // 2)
            found += [_conv(before, channels, H, W, 3, stride=2), _conv(channels, channels, *half, 3)]
            H, W = half
            found.append(_conv(before, channels, H, W, 1))
            before = channels
        own = [_conv(channels, channels, H, W, kernel) for kernel in cell.kernels]
        found += own * _CELLS
    if not cell.needs_input:
        found = own
    return (*found, Layer.fc(N=1, C=before, K=task.classes))


def _conv(C: int, K: int, H: int, W: int, kernel: int, stride: int = 1) -> Layer:
    pad = kernel // 2
    return Layer(
        N=1, C=C, H=H, W=W, K=K, R=kernel, S=kernel, stride_h=stride, stride_w=stride, pad_h=pad, pad_w=pad
    )
