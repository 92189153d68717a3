"""How long a launch takes at least, by a model of the card, and what keeps it from being shorter.

A multiprocessor works on several blocks at once. For each of its units the model knows how many cycles a
block keeps it busy; a block also takes the time in which one of its warps gets through, waiting for its own
loads. The longest of these counts, as if all the others were hidden behind it. Then come start and end of a
block, the number of blocks that the fullest multiprocessor gets, and what all of them together ask of DRAM.
So the time is a bound from below: how near a kernel comes is a question for a GPU
(`benchmarks/gpu_limits.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.limits.cards import Card

START_S = 1.5e-6
"""From the launch of a kernel in a graph to its first instruction, and from its last store to the end."""

DRAM_REACHED = 0.9
"""Share of the data sheet's bandwidth that a copy reaches: 4.3 of 4.8 TB/s on an H200."""

_UNEVEN = 1.25


@attrs.frozen
class BlockWork:
    """What one block asks of a multiprocessor.

    `unit_cycles` by unit: how long the block keeps it busy. `alone_cycles`: how long one warp takes for its
    passes through the main loop. `start_cycles`: until the main loop begins, and from its end. `sum_cycles`:
    how long the last block of a tile takes for the sums of all that share it, after its own part.
    """

    unit_cycles: Mapping[str, float]
    alone_cycles: float
    start_cycles: float
    sum_cycles: float = 0.0

    def cycles(self, blocks: int) -> tuple[float, str]:
        """How long `blocks` of them take on one multiprocessor, and what binds."""
        busy = {unit: cycles * blocks for unit, cycles in self.unit_cycles.items()}
        unit = max(busy, key=lambda name: busy[name])
        # While one block starts, the others work; and no block is faster than it would be alone.
        filled, alone = busy[unit] + self.start_cycles / blocks, self.alone_cycles + self.start_cycles
        return (filled, unit) if filled >= alone else (alone, "latency")


@attrs.frozen
class Prediction:
    """The least time of a launch and what binds it.

    `binds` is a unit (`FP32`, `tensor`, `issue`, `L1`, `L2`), `DRAM`, `latency`, or how the blocks fill the
    card: `few blocks` (less than one wave of them), `tail` (the last wave), `sums` (of blocks that share a
    tile), `start`.
    """

    time_s: float
    binds: str
    waves: float
    """Blocks of the grid over the blocks that the card holds at once."""


def predict(card: Card, work: BlockWork, *, grid: int, blocks: int, dram_bytes: float) -> Prediction:
    """The prediction for a grid.

    Args:
        card: the GPU.
        work: of a block.
        grid: blocks of the launch.
        blocks: those that one multiprocessor holds at once.
        dram_bytes: that the launch moves.
    """
    fullest = -(-grid // card.sms)
    whole, rest = divmod(fullest, blocks)
    of_whole, unit = work.cycles(blocks)
    of_rest, unit_of_rest = work.cycles(rest) if rest else (0.0, unit)
    cycles = whole * of_whole + of_rest + work.sum_cycles
    if of_rest > whole * of_whole:
        unit = unit_of_rest
    busy_s, dram_s = cycles / card.clock_hz, dram_bytes / (DRAM_REACHED * card.dram_bytes_per_s)
    # With the same work spread evenly over all multiprocessors, each as full as it can be:
    even_s = max(grid / card.sms / blocks * of_whole / card.clock_hz, dram_s)
    waves = grid / (card.sms * blocks)
    longest = max(busy_s, dram_s)
    if longest < START_S:
        binds = "start"
    elif dram_s >= busy_s:
        binds = "DRAM"
    elif 2 * work.sum_cycles > cycles:
        binds = "sums"
    elif busy_s > _UNEVEN * even_s:
        binds = "few blocks" if waves < 1 else "tail"
    else:
        binds = unit
    return Prediction(START_S + longest, binds, waves)
