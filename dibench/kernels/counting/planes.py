"""Counts of the kernels on padded planes (csrc/cpu/planes.h): what copies read, and how planes are cut."""

from __future__ import annotations

import math
from functools import lru_cache

from dibench.kernels.counting.positions import ceil_div
from dibench.layer import Layer


def plane_pitch(layer: Layer, multiple: int) -> int:
    """Positions from one output row to the next: Q and the columns that the last window extends beyond it.

    >>> plane_pitch(Layer(N=1, C=1, H=7, W=7, K=1, R=3, S=3, pad_h=1, pad_w=1), 4)  # 9, filled up to fours
    12
    """
    return ceil_div(layer.Q + (layer.S - 1) * layer.dil_w // layer.stride_w, multiple) * multiple


def strip_rows(P: int, pitch: int, positions: int) -> int:
    """Rows of a strip, of P rows cut into even strips of about so many positions; the last has the rest.

    >>> strip_rows(56, 58, 1024)  # 4 strips, of 17 rows at most
    14
    """
    return ceil_div(P, ceil_div(P, max(1, positions // pitch)))


def row_copy(n: int, lanes: int) -> int:
    """Elements that a copy of n floats by vectors touches; the last vector is moved back to the data's end.

    The vectors are as wide as the largest power of two that is at most n and at most `lanes`.

    >>> row_copy(28, 16), row_copy(14, 16), row_copy(7, 16), row_copy(1, 16), row_copy(0, 16)
    (32, 16, 8, 1, 0)
    """
    if n <= 0:
        return 0
    width = min(lanes, 1 << (n.bit_length() - 1))
    return ceil_div(n, width) * width


@lru_cache(maxsize=4096)
def packing_reads(layer: Layer, lanes: int, positions: int, multiple: int) -> int:
    """Inputs read while one channel of one image is copied into padded phase planes, strip by strip.

    A row of n columns costs row_copy(n) reads; twice that where the vectors keep every second element
    (stride 2); n where wider strides are copied element by element. Strips overlap by the filter's reach.

    >>> same = Layer(N=1, C=1, H=7, W=7, K=1, R=3, S=3, pad_h=1, pad_w=1)
    >>> packing_reads(same, 16, 1024, 1)  # 7 rows of 2 vectors of 4
    56
    """
    pitch = plane_pitch(layer, multiple)
    rows = strip_rows(layer.P, pitch, positions)
    strips = [(first, min(rows, layer.P - first)) for first in range(0, layer.P, rows)]
    reach = (layer.R - 1) * layer.dil_h // layer.stride_h
    columns = 0
    for shift in _phases(layer.S, layer.stride_w, layer.dil_w):
        n = _inside(pitch, shift - layer.pad_w, layer.stride_w, layer.W)
        columns += layer.stride_w * row_copy(n, lanes) if layer.stride_w <= 2 and n > 1 else n
    lines = 0
    for shift in _phases(layer.R, layer.stride_h, layer.dil_h):
        for first, count in strips:
            start = first * layer.stride_h + shift - layer.pad_h
            lines += _inside(count + reach, start, layer.stride_h, layer.H)
    return lines * columns


def _phases(taps: int, stride: int, dil: int) -> list[int]:
    """The remainders modulo `stride` of taps 0, dil, 2·dil, ...: one phase plane for each."""
    return [a * dil % stride for a in range(min(taps, stride // math.gcd(stride, dil)))]


def _inside(count: int, shift: int, stride: int, extent: int) -> int:
    """How many i in 0..count-1 have 0 <= i·stride + shift < extent."""
    first = max(0, ceil_div(-shift, stride))
    return max(0, min(count, ceil_div(extent - shift, stride)) - first)
