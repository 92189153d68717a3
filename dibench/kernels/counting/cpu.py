"""Counts of the fast CPU kernels (csrc/cpu): what their copies read, and tiles and vectors filled up."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

from dibench.kernels.counting.positions import ceil_div, dense_1x1
from dibench.layer import Layer

# The matrix products: gemm.h, pointwise_gemm.cpp, standard_implicit_gemm.cpp.


@lru_cache(maxsize=4096)
def staged_inputs(layer: Layer) -> int:
    """Inputs of one channel and image that are copied to lay the image out for its filter.

    All outputs together reach over (P - 1)·stride_h + (R - 1)·dil_h + 1 rows, and over that many columns,
    rounded up to a multiple of stride_w; padding among them is not read. In a direction in which the filter
    is one tap long, the rows or columns between its positions are left out.

    >>> staged_inputs(Layer(N=1, C=1, H=6, W=6, K=1, R=3, S=1, stride_h=2, stride_w=2))  # 5 rows x 3 columns
    15
    """

    def inside(outputs: int, size: int, taps: int, stride: int, pad: int, dil: int, phases: int) -> int:
        step, count = stride, outputs
        if taps > 1:
            step, count = 1, ceil_div((outputs - 1) * stride + (taps - 1) * dil + 1, phases) * phases
        first, last = ceil_div(pad, step), min((size - 1 + pad) // step, count - 1)
        return max(0, last - first + 1)

    rows = inside(layer.P, layer.H, layer.R, layer.stride_h, layer.pad_h, layer.dil_h, 1)
    return rows * inside(layer.Q, layer.W, layer.S, layer.stride_w, layer.pad_w, layer.dil_w, layer.stride_w)


@lru_cache(maxsize=4096)
def row_vectors(layer: Layer, panel: int, lanes: int) -> int:
    """Vectors of `lanes` that copy the P·Q positions of an image, cut every Q and every `panel` positions.

    >>> row_vectors(Layer(N=1, C=1, H=2, W=7, K=1, R=1, S=1), 12, 4)  # pieces of 7, 5 and 2
    5
    """
    positions = layer.P * layer.Q
    cuts = sorted({*range(0, positions, layer.Q), *range(0, positions, panel), positions})
    return sum(ceil_div(end - begin, lanes) for begin, end in pairwise(cuts))


# Padded planes: planes.h, depthwise_row_stencil.cpp, grouped_planes.cpp.


def row_copy(n: int, lanes: int) -> int:
    """Elements that a copy of n floats in vectors touches: the last vector moves back to end with the data.

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
    pitch = _plane_pitch(layer, multiple)
    rows, full, rest = _strips(layer.P, pitch, positions)
    strips = [(i * rows, rows) for i in range(full)] + ([(full * rows, rest)] if rest else [])
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


@lru_cache(maxsize=4096)
def stencil_tiles(layer: Layer) -> int:
    """Tiles of up to 8 output rows that depthwise_row_stencil cuts the rows of an image into, per vector.

    >>> stencil_tiles(Layer(N=1, C=1, H=56, W=56, K=1, R=3, S=3, pad_h=1, pad_w=1))
    7
    """
    rows, full, rest = _strips(layer.P, _plane_pitch(layer, 16), 6144)
    return full * ceil_div(rows, 8) + ceil_div(rest, 8)


def stencil_rows(layer: Layer) -> int:
    """Input rows that the tiles of depthwise_row_stencil load for one filter column, over an image.

    A tile of T output rows loads the (T - 1)·stride_h + R rows of its window once; where the kernel has
    no constants for the filter, it loads R rows for each output row.

    >>> stencil_rows(Layer(N=1, C=1, H=56, W=56, K=1, R=3, S=3, pad_h=1, pad_w=1))  # 7 tiles of 10 rows
    70
    """
    if layer.R not in (3, 5, 7) or layer.stride_h > 2 or layer.dil_h != 1:
        return layer.P * layer.R
    tiles = stencil_tiles(layer)
    return (layer.P - tiles) * layer.stride_h + tiles * layer.R


def grouped_in_place(layer: Layer, lanes: int) -> bool:
    """Whether grouped_planes reads images where they are: a pointwise layer of at least one vector.

    >>> grouped_in_place(Layer(N=1, C=4, H=7, W=7, K=4, R=1, S=1, groups=2), 16)
    True
    """
    return dense_1x1(layer) and lanes <= layer.P * layer.Q


@lru_cache(maxsize=4096)
def grouped_vectors(layer: Layer, lanes: int) -> int:
    """Vectors of positions, junk ones included, in which grouped_planes computes one output plane.

    >>> grouped_vectors(Layer(N=1, C=4, H=7, W=7, K=4, R=3, S=3, pad_h=1, pad_w=1, groups=2), 16)
    4
    """
    return sum(times * vectors for times, vectors in _grouped_runs(layer, lanes))


@lru_cache(maxsize=4096)
def grouped_blocks(layer: Layer, lanes: int) -> int:
    """Tiles along the positions of one output plane in grouped_planes; each reads every weight once.

    A tile has up to 4 vectors of 16 lanes, 3 of 8, 2 of 4.

    >>> grouped_blocks(Layer(N=1, C=4, H=14, W=14, K=4, R=3, S=3, pad_h=1, pad_w=1, groups=2), 16)
    4
    """
    tile = {16: 4, 8: 3}.get(lanes, 2)
    return sum(times * ceil_div(vectors, tile) for times, vectors in _grouped_runs(layer, lanes))


def _grouped_runs(layer: Layer, lanes: int) -> list[tuple[int, int]]:
    """(how often, vectors) of the runs of positions that grouped_planes cuts one output plane into."""
    if grouped_in_place(layer, lanes):
        return [(1, ceil_div(layer.P * layer.Q, lanes))]
    pitch = _plane_pitch(layer, 1)
    rows, full, rest = _strips(layer.P, pitch, 1024)
    last = ceil_div((rest - 1) * pitch + layer.Q, lanes) if rest else 0
    return [(full, ceil_div((rows - 1) * pitch + layer.Q, lanes)), (1, last)]


def _plane_pitch(layer: Layer, multiple: int) -> int:
    """Positions from one output row to the next: Q and the columns that the last window reaches beyond."""
    return ceil_div(layer.Q + (layer.S - 1) * layer.dil_w // layer.stride_w, multiple) * multiple


def _strips(P: int, pitch: int, positions: int) -> tuple[int, int, int]:
    """(rows of a strip, full strips, rows of a shorter last one): even strips of about `positions`."""
    rows = ceil_div(P, ceil_div(P, max(1, positions // pitch)))
    return rows, P // rows, P % rows


def _phases(taps: int, stride: int, dil: int) -> list[int]:
    """The remainders modulo `stride` of taps 0, dil, 2·dil, ...: one phase plane for each."""
    return [a * dil % stride for a in range(min(taps, stride // math.gcd(stride, dil)))]


def _inside(count: int, shift: int, stride: int, extent: int) -> int:
    """How many i in 0..count-1 have 0 <= i·stride + shift < extent."""
    first = max(0, ceil_div(-shift, stride))
    return max(0, min(count, ceil_div(extent - shift, stride)) - first)
