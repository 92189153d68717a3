"""Named helpers of the count formulas in the kernels' `[variant]` headers.

Formulas are Python expressions over a layer's dimensions and a case's knobs; what needs more than
arithmetic has a name here. A helper whose first parameter is called `layer` is given the layer by itself:
a header writes `tiles_touched(tile_p)`. All results are exact counts, of one instance of the layer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

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
    columns = sum(last - first for first, last in _spans_inside(layer))
    return layer.N * _lines_inside(layer) * columns


@lru_cache(maxsize=4096)
def row_length(layer: Layer) -> int:
    """Positions of a row, the run that a tile does not leave.

    The batch for fully-connected layers, a whole image for 1x1 filters with stride 1 and no padding, and
    an output row otherwise.

    >>> row_length(Layer.fc(N=8, C=3, K=5)), row_length(Layer(N=1, C=1, H=4, W=6, K=1, R=1, S=1))
    (8, 24)
    """
    if _is_fc(layer):
        return layer.N
    return layer.P * layer.Q if _is_dense_1x1(layer) else layer.Q


@lru_cache(maxsize=4096)
def tiles_touched(layer: Layer, tile_p: int) -> int:
    """Triples of row, tap and tile of tile_p positions in which the tap lies inside for some position.

    Reads of one weight channel: each tile reads a tap's weight once, unless padding hides it entirely.

    >>> tiles_touched(Layer(N=1, C=1, H=1, W=5, K=1, R=1, S=3, pad_w=1), 2)  # taps: 3 + 3 + 2 of 3 tiles
    8
    """
    if row_length(layer) != layer.Q:
        rows = 1 if _is_fc(layer) else layer.N
        return rows * ceil_div(row_length(layer), tile_p)
    tiles = sum(
        ceil_div(last, tile_p) - first // tile_p for first, last in _spans_inside(layer) if last > first
    )
    return layer.N * _lines_inside(layer) * tiles


@lru_cache(maxsize=4096)
def clipped_windows(layer: Layer, tile_p: int) -> int:
    """Input elements under the sliding windows of all tiles: each distinct element inside once per tile.

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
    return layer.N * _lines_inside(layer) * columns


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


# The fast depthwise and grouped kernels: csrc/cpu/planes.h, depthwise_row_stencil.cpp, grouped_planes.cpp.


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
    return _is_dense_1x1(layer) and lanes <= layer.P * layer.Q


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


@lru_cache(maxsize=4096)
def warp_turns(layer: Layer, tile_p: int, tile_k: int, lanes_p: bool) -> int:
    """Turns that the warps of a CUDA reuse variant take at one instance (csrc/cuda/box.cuh): 32 tiles each.

    The lanes of a warp span position tiles (`lanes_p`) or channel tiles; what is left over idles.

    >>> warp_turns(Layer.fc(N=8, C=3, K=40), 1, 1, lanes_p=False)  # 8 positions x 2 turns
    16
    """
    row = row_length(layer)
    positions = layer.N * layer.P * layer.Q // row * ceil_div(row, tile_p)
    channels = layer.groups * ceil_div(layer.K // layer.groups, tile_k)
    return ceil_div(positions, 32) * channels if lanes_p else positions * ceil_div(channels, 32)


def staged_p_blocks(layer: Layer, tile_p: int, block_p: int) -> int:
    """Blocks of block_p position tiles that cover an instance (csrc/cuda/conv_output_staged.cu).

    >>> staged_p_blocks(Layer(N=2, C=1, H=3, W=5, K=1, R=1, S=3), 2, 4)  # 6 rows of 2 tiles
    3
    """
    row = row_length(layer)
    return ceil_div(layer.N * layer.P * layer.Q // row * ceil_div(row, tile_p), block_p)


def staged_k_blocks(layer: Layer, tile_k: int, block_k: int) -> int:
    """Blocks of block_k channel tiles that cover one group."""
    return ceil_div(ceil_div(layer.K // layer.groups, tile_k), block_k)


# The implicit GEMM of csrc/cuda/conv_implicit_gemm.cu.

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
    depth = gemm_depth(tile_p)
    steps = ceil_div(layer.C // layer.groups * layer.R * layer.S, depth) * depth
    return gemm_tiles(layer, tile_p, tile_k) * tile_p * tile_k * steps


@lru_cache(maxsize=4096)
def gemm_tile(layer: Layer) -> tuple[int, int]:
    """(tile_k, tile_p) that should take the least time for a layer on a GPU of about 128 multiprocessors.

    A multiprocessor works at its full rate on 8 warps or more; tiles come in waves that fill the GPU so. The
    rates are estimates from the inner loops' instruction mix and L2 traffic, not yet measured.

    >>> gemm_tile(Layer(N=32, C=64, H=56, W=56, K=256, R=1, S=1))
    (128, 128)
    >>> gemm_tile(Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1))
    (32, 32)
    """

    def time(tile: tuple[int, int]) -> float:
        tile_k, tile_p = tile
        tiles, share = gemm_tiles(layer, tile_p, tile_k), gemm_threads(tile_p, tile_k) / 256
        waves = ceil_div(tiles, int(128 / share))
        return waves * gemm_macs(layer, tile_p, tile_k) / tiles / (share * _GEMM_TILES[tile])

    legal = [
        tile
        for tile in _GEMM_TILES
        if (tile[1] > 32 or layer.R * layer.S <= 24) and (tile[1] < 256 or layer.H * layer.W > 1)
    ]
    return min(legal, key=time)


def gemm_tile_p(layer: Layer) -> int:
    """Positions of the tile that `gemm_tile` chooses.

    >>> gemm_tile_p(Layer(N=8, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    128
    """
    return gemm_tile(layer)[1]


def gemm_tile_k(layer: Layer) -> int:
    """Channels of the tile that `gemm_tile` chooses.

    >>> gemm_tile_k(Layer(N=8, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1))
    64
    """
    return gemm_tile(layer)[0]


# The tensor-core GEMM of csrc/cuda/tensor_gemm.cuh.


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


# The register window of csrc/cuda/depthwise_window.cu.


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


def columns_inside(layer: Layer) -> int:
    """Pairs of an output column and a filter column whose input column lies inside the image.

    >>> columns_inside(Layer(N=1, C=1, H=3, W=3, K=1, R=3, S=3, pad_h=1, pad_w=1))
    7
    """
    return sum(last - first for first, last in _spans_inside(layer))


def _is_fc(layer: Layer) -> bool:
    ones = layer.H, layer.W, layer.R, layer.S, layer.P, layer.Q
    return set(ones) == {1} and layer.pad_h == layer.pad_w == 0


def _is_dense_1x1(layer: Layer) -> bool:
    ones = layer.R, layer.S, layer.stride_h, layer.stride_w
    same = layer.P == layer.H and layer.Q == layer.W
    return set(ones) == {1} and layer.pad_h == layer.pad_w == 0 and same


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


@lru_cache(maxsize=4096)
def _lines_inside(layer: Layer) -> int:
    """Pairs of an output row and a filter row whose input row lies inside the image."""
    spans = _spans(layer.P, layer.H, layer.R, layer.stride_h, layer.pad_h, layer.dil_h)
    return sum(last - first for first, last in spans)


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
