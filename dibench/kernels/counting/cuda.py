"""Counts of the CUDA kernels (csrc/cuda): turns and blocks of their launches, tiles, strips, usual tiles."""

from __future__ import annotations

from functools import lru_cache

from dibench.kernels.counting.positions import ceil_div, position_tiles
from dibench.layer import Layer

# The reuse variants: box.cuh, conv_output_staged.cu.


@lru_cache(maxsize=4096)
def warp_turns(layer: Layer, tile_p: int, tile_k: int, lanes_p: bool) -> int:
    """Turns that the warps of a CUDA reuse variant take at one instance (box.cuh): 32 tiles each.

    The lanes of a warp span position tiles (`lanes_p`) or channel tiles; what is left over idles.

    >>> warp_turns(Layer.fc(N=8, C=3, K=40), 1, 1, lanes_p=False)  # 8 positions x 2 turns
    16
    """
    positions = position_tiles(layer, tile_p)
    channels = layer.groups * ceil_div(layer.K // layer.groups, tile_k)
    return ceil_div(positions, 32) * channels if lanes_p else positions * ceil_div(channels, 32)


def staged_p_blocks(layer: Layer, tile_p: int, block_p: int) -> int:
    """Blocks of block_p position tiles that cover an instance (conv_output_staged.cu).

    >>> staged_p_blocks(Layer(N=2, C=1, H=3, W=5, K=1, R=1, S=3), 2, 4)  # 6 rows of 2 tiles
    3
    """
    return ceil_div(position_tiles(layer, tile_p), block_p)


def staged_k_blocks(layer: Layer, tile_k: int, block_k: int) -> int:
    """Blocks of block_k channel tiles that cover one group."""
    return ceil_div(ceil_div(layer.K // layer.groups, tile_k), block_k)


# The implicit GEMM of conv_implicit_gemm.cu.

# (tile_k, tile_p): share of a multiprocessor's rate that the instruction mix and L2 may leave
_GEMM_TILES = {
    (128, 128): 0.85, (64, 128): 0.8, (32, 128): 0.7, (64, 64): 0.7, (16, 256): 0.6, (8, 256): 0.4,
    (32, 32): 0.45,
}  # fmt: skip


def gemm_depth(tile_p: int) -> int:
    """Steps of the reduction that a block copies to shared memory at once: 8 for each of its slices.

    >>> gemm_depth(128), gemm_depth(64), gemm_depth(32)
    (8, 16, 64)
    """
    return {64: 16, 32: 64}.get(tile_p, 8)


def gemm_threads(tile_p: int, tile_k: int) -> int:
    """Threads of a block: each holds 8 (4 where tile_k is 8) channels of 8 (4 below tile_p 128) positions.

    >>> gemm_threads(128, 128), gemm_threads(64, 64), gemm_threads(256, 8)
    (256, 256, 64)
    """
    held = (4 if tile_k == 8 else 8) * (8 if tile_p >= 128 else 4)
    return tile_k * tile_p // held * gemm_depth(tile_p) // 8


def gemm_tiles(layer: Layer, tile_p: int, tile_k: int) -> int:
    """Tiles of tile_k channels of one group by tile_p positions of the batch that cover the outputs.

    >>> gemm_tiles(Layer(N=1, C=8, H=7, W=7, K=40, R=1, S=1, groups=2), 32, 16)  # 2 x 2 x 2
    8
    """
    positions = ceil_div(layer.N * layer.P * layer.Q, tile_p)
    return layer.groups * ceil_div(layer.K // layer.groups, tile_k) * positions


def gemm_macs(layer: Layer, tile_p: int, tile_k: int) -> int:
    """Multiply-adds of all tiles, filled up with zeros to whole tiles and whole stages of the reduction.

    >>> gemm_macs(Layer(N=1, C=3, H=8, W=8, K=20, R=3, S=3, pad_h=1, pad_w=1), 64, 64)  # 64 x 64 x 32
    131072
    """
    return tensor_macs(layer, tile_p, tile_k, gemm_depth(tile_p))


@lru_cache(maxsize=4096)
def _gemm_tile(layer: Layer) -> tuple[int, int]:
    """(tile_k, tile_p) that should take the least time for a layer on a GPU of about 128 multiprocessors.

    A multiprocessor works at its full rate on 8 warps or more; tiles come in waves that fill the GPU so. The
    rates are estimates from the inner loops' instruction mix and L2 traffic, not yet measured.

    >>> _gemm_tile(Layer(N=32, C=64, H=56, W=56, K=256, R=1, S=1))
    (128, 128)
    >>> _gemm_tile(Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1))
    (32, 32)
    """

    def time(tile: tuple[int, int]) -> float:
        tile_k, tile_p = tile
        tiles, share = gemm_tiles(layer, tile_p, tile_k), gemm_threads(tile_p, tile_k) / 256
        waves = ceil_div(tiles, int(128 / share))
        return waves * gemm_macs(layer, tile_p, tile_k) / tiles / (share * _GEMM_TILES[tile])

    def fits(tile: tuple[int, int]) -> bool:  # as the header requires
        tile_k, tile_p = tile
        shared = 8 * gemm_depth(tile_p) * (tile_k + tile_p + 8 + layer.R * layer.S)
        return shared <= 49152 and (tile_p < 256 or layer.H * layer.W > 1)

    return min(filter(fits, _GEMM_TILES), key=time)


def gemm_tile_p(layer: Layer) -> int:
    """Positions of the tile that should take a layer the least time.

    >>> gemm_tile_p(Layer(N=8, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    128
    """
    return _gemm_tile(layer)[1]


def gemm_tile_k(layer: Layer) -> int:
    """Channels of the tile that should take a layer the least time.

    >>> gemm_tile_k(Layer(N=8, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    64
    """
    return _gemm_tile(layer)[0]


# The tensor-core GEMM of tensor_gemm.cuh.


def tensor_macs(layer: Layer, tile_p: int, tile_k: int, depth: int) -> int:
    """Multiply-adds of all tiles, filled up with zeros to whole tiles and whole stages of `depth` steps.

    >>> tensor_macs(Layer(N=1, C=3, H=8, W=8, K=20, R=3, S=3, pad_h=1, pad_w=1), 64, 64, 32)  # 64 x 64 x 32
    131072
    """
    steps = ceil_div(layer.C // layer.groups * layer.R * layer.S, depth) * depth
    return gemm_tiles(layer, tile_p, tile_k) * tile_p * tile_k * steps


def tensor_tile(layer: Layer, depth: int) -> int:
    """Side of the square tile that suits a layer: 128, unless 64 fits it better or fills the GPU better.

    With fewer large tiles than some 100 multiprocessors, small ones keep more of them busy. Not yet measured.

    >>> tensor_tile(Layer(N=32, C=256, H=14, W=14, K=256, R=3, S=3, pad_h=1, pad_w=1), 16)
    64
    """
    taps = 60 if depth == 16 else 30  # what fits into shared memory beside the tiles
    wide = layer.K // layer.groups > 64 and taps >= layer.R * layer.S
    return 128 if wide and gemm_tiles(layer, 128, 128) >= 100 else 64


# The register window of depthwise_window.cu.


@lru_cache(maxsize=4096)
def strip_lines(layer: Layer, tile_p: int) -> int:
    """Input rows inside the image that strips of tile_p output rows read, each once per strip; one image.

    A strip of T rows reads (T - 1)·stride_h + R rows, or T·R where strides leave rows out (dilation 1).

    >>> strip_lines(Layer(N=1, C=1, H=8, W=8, K=1, R=3, S=3, pad_h=1, pad_w=1), 4)  # rows 0-4, 3-7
    10
    """
    lines = 0
    for first in range(0, layer.P, tile_p):
        rows = {
            p * layer.stride_h - layer.pad_h + r
            for p in range(first, min(first + tile_p, layer.P))
            for r in range(layer.R)
        }
        lines += sum(0 <= row < layer.H for row in rows)
    return lines
