"""Counts that follow from a layer's positions, rows and taps, for kernels of CPU and GPU."""

from __future__ import annotations

from functools import lru_cache

from dibench.layer import Layer


def ceil_div(a: int, b: int) -> int:
    """Rounded-up quotient of whole numbers.

    >>> ceil_div(7, 2), ceil_div(6, 2)
    (4, 3)
    """
    return -(-a // b)


@lru_cache(maxsize=4096)
def taps_inside(layer: Layer) -> int:
    """Pairs of an output position and a filter tap whose input lies inside the image, over the batch.

    N·sum over r of (rows p with 0 <= p·stride_h - pad_h + r·dil_h < H) times the same over s, q, W:
    multiply-adds of one output channel and one reduction channel when padding taps are skipped.

    >>> taps_inside(Layer(N=1, C=1, H=3, W=3, K=1, R=3, S=3, pad_h=1, pad_w=1))  # (2 + 3 + 2)²
    49
    """
    return layer.N * lines_inside(layer) * columns_inside(layer)


@lru_cache(maxsize=4096)
def lines_inside(layer: Layer) -> int:
    """Pairs of an output row and a filter row whose input row lies inside the image.

    >>> lines_inside(Layer(N=1, C=1, H=3, W=3, K=1, R=3, S=3, pad_h=1, pad_w=1))
    7
    """
    spans = _spans(layer.P, layer.H, layer.R, layer.stride_h, layer.pad_h, layer.dil_h)
    return sum(last - first for first, last in spans)


def columns_inside(layer: Layer) -> int:
    """Pairs of an output column and a filter column whose input column lies inside the image.

    >>> columns_inside(Layer(N=1, C=1, H=3, W=3, K=1, R=3, S=3, pad_h=1, pad_w=1))
    7
    """
    return sum(last - first for first, last in _spans_inside(layer))


@lru_cache(maxsize=4096)
def row_length(layer: Layer) -> int:
    """Positions of a row: a tile does not extend beyond its row.

    A row is the batch for fully-connected layers, a whole image for 1x1 filters with stride 1 and no padding,
    and an output row otherwise.

    >>> row_length(Layer.fc(N=8, C=3, K=5)), row_length(Layer(N=1, C=1, H=4, W=6, K=1, R=1, S=1))
    (8, 24)
    """
    if _is_fc(layer):
        return layer.N
    return layer.P * layer.Q if dense_1x1(layer) else layer.Q


@lru_cache(maxsize=4096)
def position_tiles(layer: Layer, tile_p: int) -> int:
    """Tiles of tile_p positions that cover the rows of the batch; none extends beyond its row.

    >>> position_tiles(Layer(N=2, C=1, H=3, W=5, K=1, R=1, S=3), 2)  # 6 rows of 3 positions
    12
    """
    row = row_length(layer)
    return layer.N * layer.P * layer.Q // row * ceil_div(row, tile_p)


@lru_cache(maxsize=4096)
def warp_turns(layer: Layer, tile_p: int, tile_k: int, lanes_p: bool) -> int:
    """Turns, of 32 tiles each, that the warps of a CUDA reuse variant take for one instance (box.cuh).

    The lanes of a warp span position tiles (`lanes_p`) or channel tiles; lanes past the last tile idle.

    >>> warp_turns(Layer.fc(N=8, C=3, K=40), 1, 1, lanes_p=False)  # 8 positions x 2 turns
    16
    """
    positions = position_tiles(layer, tile_p)
    channels = layer.groups * ceil_div(layer.K // layer.groups, tile_k)
    return ceil_div(positions, 32) * channels if lanes_p else positions * ceil_div(channels, 32)


@lru_cache(maxsize=4096)
def tiles_touched(layer: Layer, tile_p: int) -> int:
    """Triples of row, tap and tile of tile_p positions with the tap inside the image for some position.

    These are the reads of one weight channel: a tile reads the weight of each tap once, unless the tap lies
    on padding for all of the tile's positions.

    >>> tiles_touched(Layer(N=1, C=1, H=1, W=5, K=1, R=1, S=3, pad_w=1), 2)  # taps: 3 + 3 + 2 of 3 tiles
    8
    """
    if row_length(layer) != layer.Q:
        return position_tiles(layer, tile_p)
    tiles = sum(
        ceil_div(last, tile_p) - first // tile_p for first, last in _spans_inside(layer) if last > first
    )
    return layer.N * lines_inside(layer) * tiles


@lru_cache(maxsize=4096)
def clipped_windows(layer: Layer, tile_p: int) -> int:
    """Input elements under the sliding windows of all tiles: each element inside the image once per tile.

    A tile of n positions and one filter row covers (n - 1)·stride_w + S columns (dilation 1, S >= stride_w),
    clipped to the image; summed over filter rows inside, rows and the batch.

    >>> clipped_windows(Layer(N=1, C=1, H=1, W=5, K=1, R=1, S=3, pad_w=1), 4)  # columns 0-4, and 3-4
    7
    """
    columns = 0
    for q in range(0, layer.Q, tile_p):
        first = q * layer.stride_w - layer.pad_w
        last = (min(q + tile_p, layer.Q) - 1) * layer.stride_w - layer.pad_w + layer.S
        columns += max(0, min(last, layer.W) - max(first, 0))
    return layer.N * lines_inside(layer) * columns


def dense_1x1(layer: Layer) -> bool:
    """Whether outputs and inputs are the same positions: 1x1 filters, stride 1, no padding.

    >>> dense_1x1(Layer(N=1, C=4, H=7, W=7, K=4, R=1, S=1))
    True
    """
    ones = layer.R, layer.S, layer.stride_h, layer.stride_w
    same = layer.P == layer.H and layer.Q == layer.W
    return set(ones) == {1} and layer.pad_h == layer.pad_w == 0 and same


def _is_fc(layer: Layer) -> bool:
    ones = layer.H, layer.W, layer.R, layer.S, layer.P, layer.Q
    return set(ones) == {1} and layer.pad_h == layer.pad_w == 0


def _spans(outputs: int, size: int, taps: int, stride: int, pad: int, dil: int) -> list[tuple[int, int]]:
    """For each tap, the half-open range of outputs whose input under it lies inside the image."""
    spans = []
    for tap in range(taps):
        offset = tap * dil - pad
        first = max(0, ceil_div(-offset, stride))
        last = min(outputs, (size - 1 - offset) // stride + 1)
        spans.append((first, max(first, last)))
    return spans


@lru_cache(maxsize=4096)
def _spans_inside(layer: Layer) -> list[tuple[int, int]]:
    return _spans(layer.Q, layer.W, layer.S, layer.stride_w, layer.pad_w, layer.dil_w)
