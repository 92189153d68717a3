"""How long blocks keep a GPU busy, roughly: the estimates by which matrix products choose tiles and splits.

A sketch in whole numbers of the model in `dibench/limits`, which needs machine code. What a tile takes stands
in the header; `benchmarks/tile_choice.py` and tests compare the two. Cycles are those of an H200's
multiprocessor; other large cards have nearly the same proportions.
"""

from __future__ import annotations

from dibench.kernels.counting.positions import ceil_div
from dibench.kernels.counting.products import gemm_tiles
from dibench.layer import Layer

_L2_CYCLES, _DRAM_CYCLES = 530, 1600  # from a load to its value
_L2_BYTES, _DRAM_BYTES = 42, 2360  # in a cycle: to one multiprocessor, to all
_L2_HOLDS = 40_000_000  # bytes of partial sums
_START_CYCLES = 900  # from a block's first instruction to its first load


# Wide because a formula passes numbers only.
def gemm_cycles(
    layer: Layer, size: int, tile_p: int, tile_k: int, splits: int, depth: int, threads: int,
    held: int, busy: int, near: int, far: int, instances: int, multiprocessors: int,
) -> int:  # fmt: skip
    """Cycles that a matrix product takes on a GPU.

    Args:
        layer: what is computed.
        size: bytes of an element.
        tile_p: positions of a block.
        tile_k: channels of it.
        splits: blocks that share a tile's reduction.
        depth: steps of the reduction in a stage.
        threads: of a block.
        held: blocks that a multiprocessor has at once.
        busy: cycles for which a stage of one block keeps the busiest unit of a multiprocessor.
        near: cycles of a stage where the block is alone and its loads come from L2.
        far: the same where they come from DRAM.
        instances: of the layer, in one launch.
        multiprocessors: of the GPU.

    >>> deep = Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1)
    >>> [gemm_cycles(deep, 4, 32, 32, n, 32, 128, 4, 430, 485, 580, 1, 132) for n in (1, 4, 16)]
    [77948, 22514, 19139]
    """
    channels, window = layer.C // layer.groups, layer.R * layer.S
    tiles = instances * gemm_tiles(layer, tile_p, tile_k)
    stages = ceil_div(ceil_div(channels * window, depth), splits)
    # Elements that are new to the GPU, of those that blocks load, each input once for all taps.
    new, loaded = instances * (layer.weights + layer.inputs), tiles * channels * (tile_k * window + tile_p)

    def by_load(l2: int, dram: int) -> int:
        return l2 + (dram - l2) * min(new, loaded) // loaded

    blocks, sums = tiles * splits, 4 * tile_p * tile_k if splits > 1 else 0
    moved = size * (loaded // blocks + tile_p * tile_k // splits) + 2 * sums  # bytes of a block, in the mean
    start = _START_CYCLES + by_load(_L2_CYCLES, _DRAM_CYCLES)
    busy = max(stages * busy, moved // _L2_BYTES)
    launch = _launch_cycles(ceil_div(blocks, multiprocessors), held, busy, stages * by_load(near, far), start)
    spilled = 2 * blocks * sums // _DRAM_BYTES if blocks * sums > _L2_HOLDS else 0
    return launch + _adding_cycles(tile_p * tile_k, splits, threads) + spilled


def _launch_cycles(blocks: int, held: int, busy: int, alone: int, start: int) -> int:
    """Cycles for `blocks` on one multiprocessor, `held` at once; they start while others work.

    >>> [_launch_cycles(blocks, held=2, busy=500, alone=800, start=100) for blocks in (1, 2, 3)]
    [900, 1050, 1950]
    """
    whole, rest = divmod(blocks, held)

    def together(number: int) -> int:
        return max(alone + start, number * busy + start // number) if number else 0

    return whole * together(held) + together(rest)


def _adding_cycles(elements: int, splits: int, threads: int) -> int:
    """Cycles from the end of a tile's last block until it has added up all sums (csrc/cuda/split.cuh).

    They come from L2, 16 loads of 16 bytes of a thread at a time, of four parts: a small tile does not keep
    all threads busy.

    >>> _adding_cycles(1024, 1, 128), _adding_cycles(1024, 16, 128)
    (0, 3180)
    """
    if splits == 1:
        return 0
    bytes_added = 4 * elements * splits
    batches = ceil_div(bytes_added, 256 * min(threads, elements // 16))
    return 2 * _L2_CYCLES + max(batches * _L2_CYCLES, bytes_added // _L2_BYTES)


def labelled(cycles: int, tile_p: int, tile_k: int, splits: int) -> int:
    """One number, so that the least of several says to which tile and splits it belongs; cycles decide.

    >>> least = min(labelled(900, 128, 64, 1), labelled(700, 32, 256, 16))
    >>> label_tile_p(least), label_tile_k(least), label_splits(least)
    (32, 256, 16)
    """
    return ((cycles * 1024 + tile_p) * 1024 + tile_k) * 32 + splits


def label_tile_p(label: int) -> int:
    """tile_p of a number that `labelled` made."""
    return label // 32 // 1024 % 1024


def label_tile_k(label: int) -> int:
    """tile_k of it."""
    return label // 32 % 1024


def label_splits(label: int) -> int:
    """splits of it."""
    return label % 32
