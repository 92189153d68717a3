"""Tiles of the kernels on tensor cores (tensor_gemm.cuh): how warps share one, and which suits a layer."""

from __future__ import annotations

from functools import lru_cache

from dibench.kernels.counting.positions import ceil_div
from dibench.kernels.counting.products import gemm_tiles
from dibench.layer import Layer

# tile_p, tile_k, percent of the tensor cores' rate that shared memory leaves, blocks that a multiprocessor
# holds: from the bytes of a stage and the registers on sm_90, not yet measured.
_TILES = (
    (256, 128, 92, 1), (128, 128, 88, 2), (256, 64, 76, 1), (128, 64, 72, 3), (64, 128, 72, 3),
    (128, 32, 59, 6), (64, 64, 54, 4), (64, 32, 46, 8), (32, 64, 46, 8), (32, 32, 40, 12),
)  # fmt: skip
_MULTIPROCESSORS = 128


def warp_side(tile: int) -> int:
    """How much of one side of a tile a warp has.

    >>> warp_side(256), warp_side(32)
    (64, 32)
    """
    return 64 if tile >= 128 else 32


def tensor_tile_p(layer: Layer) -> int:
    """Positions of the tile that suits a layer.

    >>> tensor_tile_p(Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    128
    """
    return _tile(layer)[0]


def tensor_tile_k(layer: Layer) -> int:
    """Channels of it.

    >>> tensor_tile_k(Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    64
    """
    return _tile(layer)[1]


@lru_cache(maxsize=4096)
def _tile(layer: Layer) -> tuple[int, int]:
    """The tile of least time on the fullest multiprocessor, which works its tiles off one after another."""

    def time(tile_p: int, tile_k: int, percent: int, held: int) -> int:
        most = ceil_div(gemm_tiles(layer, tile_p, tile_k), _MULTIPROCESSORS)
        warps = min(most, held) * (tile_p // warp_side(tile_p)) * (tile_k // warp_side(tile_k))
        # The fewer warps, the less of their latencies is hidden. 1000, so that the division drops little.
        return 1000 * most * tile_p * tile_k * (warps + 2) // (percent * warps)

    tile_p, tile_k, _, _ = min(_TILES, key=lambda one: time(*one))
    return tile_p, tile_k
