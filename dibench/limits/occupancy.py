"""How many blocks of a kernel a multiprocessor holds at once, and what limits them.

The rules of NVIDIA's cuda_occupancy.h: registers are given to warps in units of 256, on one of four parts of
the multiprocessor; shared memory to blocks in units of 128 bytes (256 before sm_80), with 1 KiB for the
system from sm_80 on.
"""

from __future__ import annotations

import attrs

from dibench.limits.cards import Card

_REGISTERS = 65536
_PARTS = 4


@attrs.frozen
class Occupancy:
    """Blocks on a multiprocessor, and which resource allows no more of them."""

    blocks: int
    limit: str


def occupancy(card: Card, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """How many blocks fit.

    Args:
        card: the GPU.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic.

    >>> from dibench.limits import cards
    >>> occupancy(cards.of(90), 256, 156, 17600)
    Occupancy(blocks=1, limit='registers')
    """
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // 256) * 256
    unit = 128 if card.arch >= 80 else 256
    of_block = -(-(shared_bytes + card.shared_bytes_reserved) // unit) * unit
    fits = {
        "registers": _REGISTERS // _PARTS // of_warp * _PARTS // warps,
        "shared memory": card.shared_bytes // of_block if of_block else card.blocks,
        "threads": card.threads // 32 // warps,
        "blocks": card.blocks,
    }
    limit = min(fits, key=lambda name: fits[name])
    return Occupancy(fits[limit], limit)
