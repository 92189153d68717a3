"""Tiles of the kernels on tensor cores (tensor_gemm.cuh): how warps share one, and which suits a layer.

The rule is a sketch of the model in `dibench/limits`, which needs machine code; tests compare the two.
Figures are an H200's, in cycles of a multiprocessor; other large cards have nearly the same proportions.
"""

from __future__ import annotations

from functools import lru_cache

from dibench.kernels.counting.positions import ceil_div
from dibench.kernels.counting.products import gemm_tiles
from dibench.layer import Layer

# tile_p, tile_k: blocks that a multiprocessor holds, from shared memory and registers on sm_90.
_HELD = {
    (256, 128): 1, (128, 128): 2, (256, 64): 1, (128, 64): 3, (64, 128): 3, (128, 32): 6, (64, 64): 4,
    (64, 32): 8, (32, 64): 8, (32, 32): 12,
}  # fmt: skip
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)

_STAGE_BYTES = 64  # of each row
_TENSOR = 40  # products of a position, a channel and 64 bytes of each that mma reaches in a cycle
_L2_CYCLES, _DRAM_CYCLES = 530, 1600  # from a load to its value
_START_CYCLES = 2000  # of a block, until its first stage is there
_L2_BYTES, _DRAM_BYTES = 42, 2360  # in a cycle: to one multiprocessor, to all


def warp_side(tile: int) -> int:
    """How much of one side of a tile a warp has.

    >>> warp_side(256), warp_side(32)
    (64, 32)
    """
    return 64 if tile >= 128 else 32


def tensor_tile_p(layer: Layer, size: int, multiprocessors: int) -> int:
    """Positions of the tile that suits a layer.

    Args:
        layer: what is computed.
        size: bytes of an element.
        multiprocessors: of the GPU.

    >>> tensor_tile_p(Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1), 2, 132)
    128
    """
    return _choice(layer, size, multiprocessors)[0]


def tensor_tile_k(layer: Layer, size: int, multiprocessors: int) -> int:
    """Channels of it.

    >>> tensor_tile_k(Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1), 2, 132)
    64
    """
    return _choice(layer, size, multiprocessors)[1]


def tensor_splits(layer: Layer, size: int, multiprocessors: int) -> int:
    """Blocks that share the reduction of each such tile.

    >>> deep = Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1)
    >>> [tensor_splits(deep.with_batch(N), 2, 132) for N in (1, 8, 1024)]
    [16, 4, 1]
    """
    return _choice(layer, size, multiprocessors)[2]


@lru_cache(maxsize=4096)
def _choice(layer: Layer, size: int, multiprocessors: int) -> tuple[int, int, int]:
    """tile_p, tile_k and splits of the least time; of equal ones the largest tile, not split."""
    stages = ceil_div(layer.C // layer.groups * layer.R * layer.S * size, _STAGE_BYTES)
    read = size * (layer.weights + layer.inputs)
    least = (read + size * layer.outputs) / _DRAM_BYTES  # whatever the tile

    def time(tile_p: int, tile_k: int, splits: int) -> float:
        tiles, own = gemm_tiles(layer, tile_p, tile_k), ceil_div(stages, splits)
        # Two stages on their way hide the latency of the one that is waited for.
        first = min(1.0, read / (tiles * stages * _STAGE_BYTES * (tile_p + tile_k)))  # the rest is in L2
        alone = own * (first * _DRAM_CYCLES + (1 - first) * _L2_CYCLES) / 2 + _START_CYCLES
        busy = own * _stage_cycles(tile_p, tile_k)
        whole, rest = divmod(ceil_div(tiles * splits, multiprocessors), _HELD[tile_p, tile_k])
        total = sum(
            rounds * max(alone, blocks * busy + _START_CYCLES / blocks)
            for rounds, blocks in ((whole, _HELD[tile_p, tile_k]), (1, rest))
            if blocks
        )
        return max(least, total + _sum_cycles(tile_p, tile_k, splits))

    return min(
        ((tile_p, tile_k, splits) for splits in _SPLITS if splits <= stages for tile_p, tile_k in _HELD),
        key=lambda one: time(*one),
    )


def _stage_cycles(tile_p: int, tile_k: int) -> float:
    """For which a stage keeps the tensor cores busy, or shared memory, 128 bytes a cycle.

    A stage is written there, after as many bytes came through L1. Each warp reads its rows of both operands.
    """
    rows = 2 * (tile_p + tile_k) + tile_p * tile_k // warp_side(tile_k) + tile_p * tile_k // warp_side(tile_p)
    return max(tile_p * tile_k / _TENSOR, rows * _STAGE_BYTES / 128)


def _sum_cycles(tile_p: int, tile_k: int, splits: int) -> float:
    """From the end of a tile's last block to its sums: split.cuh."""
    if splits == 1:
        return 0.0
    threads = 32 * (tile_p // warp_side(tile_p)) * (tile_k // warp_side(tile_k))
    read = 4 * tile_p * tile_k * splits
    batches = read / (16 * 16 * threads)  # sixteen loads of 16 bytes of each thread
    return 2 * _L2_CYCLES + max(batches * _L2_CYCLES, read / _L2_BYTES)
