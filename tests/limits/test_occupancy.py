"""Blocks on a multiprocessor are as many as NVIDIA's own calculator says."""

from __future__ import annotations

import pytest

from dibench.limits import cards
from dibench.limits.occupancy import occupancy

# arch, threads, registers, bytes of shared memory; blocks, as cudaOccMaxActiveBlocksPerMultiprocessor of
# cuda_occupancy.h (CUDA 13.0) gives them. These are 28 of 2800 drawn at random, all of which agreed.
NVIDIA = [
    (75, 288, 77, 792, 2),
    (75, 384, 165, 715, 1),
    (75, 352, 123, 14613, 1),
    (75, 416, 102, 46562, 1),
    (80, 800, 38, 31100, 1),
    (80, 64, 67, 38850, 4),
    (80, 32, 175, 338, 8),
    (80, 320, 57, 225, 3),
    (86, 832, 57, 46057, 1),
    (86, 320, 32, 457, 4),
    (86, 32, 157, 12456, 7),
    (86, 960, 46, 10818, 1),
    (89, 160, 31, 1669, 9),
    (89, 32, 51, 1394, 24),
    (89, 672, 19, 909, 2),
    (89, 864, 49, 633, 1),
    (90, 928, 64, 22498, 1),
    (90, 192, 20, 43943, 5),
    (90, 192, 144, 37374, 2),
    (90, 288, 136, 30454, 1),
    (100, 224, 213, 39487, 1),
    (100, 192, 67, 22926, 4),
    (100, 352, 130, 16033, 1),
    (100, 64, 37, 22641, 9),
    (120, 96, 82, 37123, 2),
    (120, 832, 27, 46864, 1),
    (120, 64, 222, 486, 4),
    (120, 544, 27, 15832, 2),
]


@pytest.mark.parametrize(("arch", "threads", "registers", "shared", "blocks"), NVIDIA)
def test_as_many_blocks_fit_as_nvidia_says(
    arch: int, threads: int, registers: int, shared: int, blocks: int
) -> None:
    assert occupancy(cards.of(arch), threads, registers, shared).blocks == blocks


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "limit"),
    [
        (256, 156, 0, "registers"),
        (128, 32, 48 * 1024, "shared memory"),
        (512, 20, 0, "threads"),
        (32, 20, 0, "blocks"),
    ],
)
def test_it_says_what_no_more_blocks_are_for_want_of(
    threads: int, registers: int, shared: int, limit: str
) -> None:
    assert occupancy(cards.of(90), threads, registers, shared).limit == limit
