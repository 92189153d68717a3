"""Operands of a case: their shapes, their values by distribution and seed, and as elements of a data type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dibench.errors import UserError
from dibench.intensity import ELEMENT_BYTES
from dibench.schema import DISTRIBUTIONS

if TYPE_CHECKING:
    from dibench.layer import Layer

Floats = npt.NDArray[np.float32]

_ALIGNMENT = 64  # bytes: a cache line, and a vector of the widest instruction set


def operand_shapes(layer: Layer, instances: int) -> tuple[tuple[int, ...], ...]:
    """x [I,N,C,H,W], w [I,K,C/groups,R,S], y [I,N,K,P,Q]."""
    return (
        (instances, layer.N, layer.C, layer.H, layer.W),
        (instances, layer.K, layer.C // layer.groups, layer.R, layer.S),
        (instances, layer.N, layer.K, layer.P, layer.Q),
    )


def memory_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of an operand x, w or y as a kernel of that layout has it in memory.

    >>> memory_shape((1, 2, 3, 4, 5), "channels_last")
    (1, 2, 4, 5, 3)
    """
    return (*shape[:2], *shape[3:], shape[2]) if layout == "channels_last" else shape


def in_memory(values: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """An operand by the axes of `operand_shapes`, dense as a kernel of that layout reads it."""
    return np.ascontiguousarray(np.moveaxis(values, 2, -1) if layout == "channels_last" else values)


def as_shaped(elements: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """The inverse of `in_memory`: a view."""
    return np.moveaxis(elements, -1, 2) if layout == "channels_last" else elements


def operand(shape: tuple[int, ...], data: str, seed: int, which: int) -> Floats:
    """An operand's values: same distribution, seed and `which` (0 for x, 1 for w), same values.

    `uniform` on [-1, 1); `normal`, standard; `zeros`; `low_toggle`, 1 or the float after 1, so that
    neighbours differ in at most one bit.

    >>> operand((2, 3), "zeros", 1, 0).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]

    Raises:
        UserError: no such distribution.
    """
    values = aligned(shape)
    rng = np.random.default_rng([seed, which])
    if data == "uniform":
        rng.random(out=values, dtype=np.float32)
        values *= 2
        values -= 1
    elif data == "normal":
        rng.standard_normal(out=values, dtype=np.float32)
    elif data == "zeros":
        values.fill(0)
    elif data == "low_toggle":
        rng.random(out=values, dtype=np.float32)
        values[...] = np.where(values < 0.5, np.float32(1), np.nextafter(np.float32(1), np.float32(2)))
    else:
        raise UserError("data", f"must be one of {', '.join(DISTRIBUTIONS)}", data)
    return values


def aligned(shape: tuple[int, ...]) -> Floats:
    """An uninitialised array that begins on a cache line."""
    size = int(np.prod(shape, dtype=np.int64))
    memory = np.empty(size + _ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % _ALIGNMENT // 4
    return memory[start : start + size].reshape(shape)


def element_type(dtype: str) -> np.dtype[Any]:
    """NumPy's type of an operand in memory: a 16-bit float is its bits.

    >>> [element_type(dtype).name for dtype in ("tf32", "bf16")]
    ['float32', 'uint16']
    """
    return np.dtype(np.float32 if ELEMENT_BYTES[dtype] == 4 else np.uint16)


def unwritten(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Outputs before a launch, NaN in every data type: one that a kernel forgets shows."""
    elements = np.empty(shape, element_type(dtype))
    elements.view(np.uint8).fill(0xFF)
    return elements


def as_elements(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """float32 values as a kernel's elements: themselves, or rounded to the nearest 16-bit float, its bits.

    >>> [hex(bits) for bits in as_elements(np.array([1.0, -2.0], np.float32), "bf16")]
    ['0x3f80', '0xc000']
    """
    if dtype == "fp16":
        return values.astype(np.float16).view(np.uint16)
    if dtype == "bf16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)  # ties to even
    return values


def as_values(elements: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """The numbers that elements of a kernel's operands are; it drops 13 bits of tf32 inputs.

    >>> as_values(as_elements(np.array([1.0, -2.5], np.float32), "bf16"), "bf16").tolist()
    [1.0, -2.5]
    """
    if dtype == "fp16":
        return elements.view(np.float16)
    if dtype == "bf16":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements
