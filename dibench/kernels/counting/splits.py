"""Counts of reductions that several blocks share (csrc/cuda/split.cuh)."""

from __future__ import annotations


def split_sums(tiles: int, elements: int, splits: int) -> int:
    """Partial sums that blocks put, and as many that the last block of each tile fetches.

    Args:
        tiles: of the outputs.
        elements: of a tile, those past the layer's edges included.
        splits: blocks that share a tile's reduction; alone a block keeps its sums.

    >>> split_sums(3, 1024, 4), split_sums(3, 1024, 1)
    (12288, 0)
    """
    return tiles * elements * splits if splits > 1 else 0


def split_bytes(tiles: int, elements: int, splits: int) -> int:
    """Bytes of the workspace: partial sums, then a counter for each tile.

    >>> split_bytes(3, 1024, 4), split_bytes(3, 1024, 1)
    (49164, 0)
    """
    return 4 * (split_sums(tiles, elements, splits) + tiles) if splits > 1 else 0
