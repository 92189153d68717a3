"""Counts of the kernels that are matrix products, on GPU (im2col.cuh, tensor_gemm.cuh) and CPU (gemm.h)."""

from __future__ import annotations

from functools import lru_cache

from dibench.kernels.counting.positions import ceil_div
from dibench.layer import Layer


def gemm_tiles(layer: Layer, tile_p: int, tile_k: int) -> int:
    """Tiles that cover the outputs, of tile_k channels of one group by tile_p positions of the batch.

    >>> gemm_tiles(Layer(N=1, C=8, H=7, W=7, K=40, R=1, S=1, groups=2), 32, 16)  # 2 x 2 x 2
    8
    """
    positions = ceil_div(layer.N * layer.P * layer.Q, tile_p)
    return layer.groups * ceil_div(layer.K // layer.groups, tile_k) * positions


def gemm_macs(layer: Layer, tile_p: int, tile_k: int, depth: int) -> int:
    """Multiply-adds of all tiles, padded with zeros to whole tiles and whole stages of `depth` steps.

    >>> gemm_macs(Layer(N=1, C=3, H=8, W=8, K=20, R=3, S=3, pad_h=1, pad_w=1), 64, 64, 32)  # 64 x 64 x 32
    131072
    """
    steps = ceil_div(layer.C // layer.groups * layer.R * layer.S, depth) * depth
    return gemm_tiles(layer, tile_p, tile_k) * tile_p * tile_k * steps


def warp_side(tile: int) -> int:
    """How much of one side of a tile on tensor cores a warp has (tensor_gemm.cuh).

    >>> warp_side(256), warp_side(32)
    (64, 32)
    """
    return 64 if tile >= 128 else 32


def _staged(layer: Layer) -> tuple[int, int, int]:
    """Of inputs laid out for the filter: rows between output rows, rows under one, columns of all phases."""
    step = 1 if layer.R == 1 else layer.stride_h
    phases = 1 if layer.S == 1 else layer.stride_w
    columns = ceil_div((layer.Q - 1) * phases + (layer.S - 1) * layer.dil_w + 1, phases) * phases
    return step, (layer.R - 1) * layer.dil_h + 1, columns


@lru_cache(maxsize=4096)
def staged_inputs(layer: Layer, strip: int) -> int:
    """Inputs of one channel and image that are copied to lay the image out for its filter, strip by strip.

    `rows` outputs extend over (rows - 1)·stride_h + (R - 1)·dil_h + 1 rows, so strips overlap; and over as
    many columns, rounded up to a multiple of stride_w. Padding among them is not read. Where the filter is
    one tap high or wide, the rows or columns between its positions are left out.

    >>> staged_inputs(Layer(N=1, C=1, H=6, W=6, K=1, R=3, S=1, stride_h=2, stride_w=2), 2)  # 5 x 3
    15
    >>> staged_inputs(Layer(N=1, C=1, H=6, W=4, K=1, R=3, S=3), 2)  # two strips of 4 rows x 4 columns
    32
    """

    def inside(first: int, count: int, size: int, step: int, pad: int) -> int:
        begin, end = max(first, ceil_div(pad, step)), min((size - 1 + pad) // step, first + count - 1)
        return max(0, end - begin + 1)

    step, reach, columns = _staged(layer)
    high = 1 if layer.R > 1 else layer.stride_h
    wide = 1 if layer.S > 1 else layer.stride_w
    strips = [(first, min(strip, layer.P - first)) for first in range(0, layer.P, strip)]
    rows = sum(
        inside(first * step, (count - 1) * step + reach, layer.H, high, layer.pad_h)
        for first, count in strips
    )
    return rows * inside(0, columns, layer.W, wide, layer.pad_w)
