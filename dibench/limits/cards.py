"""The GPUs that limits are worked out for: what each has and how fast it is, on paper.

From NVIDIA's data sheets and architecture white papers (multiprocessors, boost clock, memory, dense tensor
rates), and from the CUDA C++ Programming Guide, "Compute Capabilities" (what a multiprocessor holds).
Latencies and the share of the tensor rate that `mma` reaches are others' measurements, named below. One
card stands for each architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from dibench.errors import UserError
from dibench.kernels.architectures import KIB

MIB = 1024 * KIB


@attrs.frozen
class Card:
    """One GPU.

    `fp32_lanes`: multiply-adds of a multiprocessor in a cycle. `tensor_macs`: those of its tensor cores in
    fp16 (tf32 has half of them), as data sheets count; `mma_share` of it is what `mma` instructions reach
    at most, the rest takes wgmma or tcgen05. `l2_latency` and `dram_latency` are cycles from a load to its
    value on a busy card, twice what one load alone takes.
    """

    arch: int
    name: str
    sms: int
    clock_hz: float
    fp32_lanes: int
    tensor_macs: int
    mma_share: float
    dram_bytes_per_s: float
    l2_bytes: int
    l2_bytes_per_cycle: float
    l2_latency: int
    dram_latency: int
    threads: int
    blocks: int
    shared_bytes: int
    shared_bytes_reserved: int

    @property
    def fp32_macs_per_s(self) -> float:
        """Multiply-adds of all multiprocessors."""
        return self.sms * self.fp32_lanes * self.clock_hz

    def peak_macs_per_s(self, dtype: str) -> float:
        """The data sheet's rate for operands of this type."""
        if dtype == "fp32":
            return self.fp32_macs_per_s
        return self.sms * self.tensor_macs / (2 if dtype == "tf32" else 1) * self.clock_hz

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Of one multiprocessor, when all share."""
        return self.dram_bytes_per_s / self.clock_hz / self.sms

    @property
    def bytes_in_flight(self) -> float:
        """What a multiprocessor must have under way so that DRAM is never idle (Little's law)."""
        return self.dram_bytes_per_cycle * self.dram_latency


# Latency of one load, in cycles (Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU
# Architecture", 2024): L2 273 on Ada, 262 on an A100, 263 on an H100; DRAM 542, 466, 479. Twice that on a
# busy card makes 31 KiB in flight on an H200 and 16 KiB on an A100, near what NVIDIA's tuning talks ask for
# (32 KiB on an H100). L2 gives a multiprocessor 64 bytes a cycle, of which copies reach two thirds. mma on
# Hopper: 62% (the same paper). Blackwell (sm_100): as Hopper; not known.
_CARDS = (
    # arch, name, multiprocessors, Hz, fp32, tensor, mma, DRAM, L2 and its rate, latencies, what is resident
    Card(75, "RTX 2080 Ti", 68, 1.545e9, 64, 512, 1, 616e9, 5632 * KIB, 42, 400, 900, 1024, 16, 64 * KIB, 0),
    Card(80, "A100", 108, 1.41e9, 64, 1024, 1, 2039e9, 40 * MIB, 42, 520, 930, 2048, 32, 164 * KIB, KIB),
    Card(86, "A40", 84, 1.74e9, 128, 512, 1, 696e9, 6 * MIB, 42, 520, 1000, 1536, 16, 100 * KIB, KIB),
    Card(89, "L40S", 142, 2.52e9, 128, 512, 1, 864e9, 96 * MIB, 42, 550, 1080, 1536, 24, 100 * KIB, KIB),
    Card(90, "H200", 132, 1.83e9, 128, 2048, 0.62, 4800e9, 50 * MIB, 42, 530, 1600, 2048, 32, 228 * KIB, KIB),
    Card(100, "B200", 148, 1.85e9, 128, 4096, 0.31, 8e12, 126 * MIB, 42, 530, 1600, 2048, 32, 228 * KIB, KIB),
    Card(
        120, "RTX 5090", 170, 2.407e9, 128, 256, 1, 1792e9, 96 * MIB, 42, 550, 1080, 1536, 24, 100 * KIB, KIB
    ),
)

CARDS: Mapping[int, Card] = MappingProxyType({card.arch: card for card in _CARDS})
"""By compute capability."""


def of(arch: int) -> Card:
    """The card that stands for an architecture.

    Raises:
        UserError: there is none.

    >>> of(90).name, round(of(90).bytes_in_flight / 1024)
    ('H200', 31)
    """
    if arch not in CARDS:
        raise UserError("--arch", f"must be one of {', '.join(map(str, CARDS))}", arch)
    return CARDS[arch]


# Wide because a GPU is described by what its driver tells.
def of_gpu(
    *, arch: int, name: str, sms: int, clock_hz: float, dram_bytes_per_s: float, l2_bytes: int
) -> Card:
    """A GPU with the size and clocks that its driver tells, and all else of the nearest card not newer.

    >>> of_gpu(arch=90, name="H100", sms=114, clock_hz=1.755e9, dram_bytes_per_s=2e12, l2_bytes=1).fp32_lanes
    128
    """
    nearest = CARDS[max((known for known in CARDS if known <= arch), default=min(CARDS))]
    return attrs.evolve(
        nearest,
        arch=arch,
        name=name,
        sms=sms,
        clock_hz=clock_hz,
        dram_bytes_per_s=dram_bytes_per_s,
        l2_bytes=l2_bytes,
    )
