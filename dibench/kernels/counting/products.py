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


@lru_cache(maxsize=4096)
def staged_inputs(layer: Layer) -> int:
    """Inputs of one channel and image that are copied to lay the image out for its filter.

    All outputs together extend over (P - 1)·stride_h + (R - 1)·dil_h + 1 rows, and over as many columns,
    rounded up to a multiple of stride_w; padding among them is not read. Where the filter is one tap high or
    wide, the rows or columns between its positions are left out.

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
