"""What limits a kernel on a layer and a card, put together from its machine code and the harness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from dibench.backends import cuda_cache, host
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.backends.host import BlockTraffic
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.kernels import Variant, compilers, registry
from dibench.kernels.compilers import Geometry, nvrtc, sass
from dibench.kernels.compilers.nvrtc import Binary
from dibench.layer import Layer
from dibench.limits import main_loop
from dibench.limits.cards import Card
from dibench.limits.machine_code import Instruction, instructions
from dibench.limits.main_loop import MainLoop
from dibench.limits.occupancy import occupancy
from dibench.limits.prediction import BlockWork, predict
from dibench.plan import Case

_SCHEDULERS = 4
_SECTOR = 32
_ACCESS_INSTRUCTIONS = 5  # of an access outside the main loop: address, predicates, the access itself
_SAMPLE_STEPS = 256  # of the reduction, whose stages are alike
_SAMPLE_OUTPUTS = 2_000_000


@attrs.frozen(kw_only=True)
class Limits:
    """What a kernel takes of a card, and the least time that leaves for a layer.

    `instructions_per_mac`: of a lane in the main loop. `bytes_per_mac`: from L2 to the multiprocessor, for
    a multiply-add of the layer. `conflicts`: cycles of shared memory over those without conflicts of banks.
    `bytes_in_flight`: of a full multiprocessor, each sector of a block once; `bytes_wanted` keep DRAM busy.
    `share_of_peak`: the layer at the card's peak rate, or at its full bandwidth if that takes longer
    (`peak` says which), over `time_s`.
    """

    case: Case
    card: Card
    registers: int
    spill_bytes: int
    shared_bytes: int
    threads: int
    blocks: int
    blocks_limit: str
    grid: int
    waves: float
    loop_instructions: int
    instructions_per_mac: float
    moves_between_mma: int
    bytes_per_mac: float
    conflicts: float
    loads_in_flight: float
    bytes_in_flight: float
    bytes_wanted: float
    time_s: float
    peak: str
    share_of_peak: float
    binds: str
    unit_shares: Mapping[str, float]
    """By unit, the share of the time in which a full multiprocessor keeps it busy."""


def examine(cases: Sequence[Case], card: Card, *, warm: bool = False) -> Iterator[Limits | UserError]:
    """The limits of each case on a card, or why it has none.

    Args:
        cases: layers under CUDA kernels.
        card: the GPU.
        warm: a layer that fits into L2 is found there, as where the same layer is launched again and again.

    Raises:
        UserError: compiler, disassembler or g++ is missing.
    """
    cache = KernelCache(nvrtc.compiler_for(card.arch), cuda_cache.default_directory(), threads=2)
    sources = [_source(case, card.arch) for case in cases]
    runs = [_runs(case, card.arch) for case in cases]
    cache.prefetch(source for source, run in zip(sources, runs, strict=True) if run)
    code: dict[str, tuple[Binary, list[Instruction]]] = {}
    traffic: dict[Any, BlockTraffic] = {}
    for case, source, run in zip(cases, sources, runs, strict=True):
        if not run:
            yield UserError("arch", f"{case.variant} needs a newer GPU", f"sm_{card.arch}")
            continue
        if source.digest not in code:
            binary = cache.binary(source)
            (listing,) = sass.disassemble([binary])
            code[source.digest] = binary, instructions(binary, listing)
        variant = _variant(case)
        smaller = sample(case.layer, variant, case.knobs)
        key = variant.name, smaller, tuple(case.knobs.items()), case.dtype
        if key not in traffic:
            traffic[key] = host.block_traffic(variant, smaller, case.knobs, dtype=case.dtype)
        binary, listed, seen = *code[source.digest], traffic[key]
        loop = main_loop.find(listed, seen, tensor=case.dtype != "fp32")
        if loop is None:
            yield UserError("main loop", "must multiply: none was found", case.variant)
            continue
        try:
            yield limits_of(case, card, binary, loop, seen, main_loop.way_to(listed, loop), warm=warm)
        except UserError as refusal:
            yield refusal
    cache.close()


def sample(layer: Layer, variant: Variant, knobs: Mapping[str, Any]) -> Layer:
    """A smaller layer whose blocks do the same in the same way: fewer channels to sum over, fewer images."""
    if layer.op == "fc":
        return layer
    own, window = layer.C // layer.groups, layer.R * layer.S
    steps = _SAMPLE_STEPS * int(knobs.get("splits", 1))  # so many for each block that shares them
    fewer = max(32, steps // window // 32 * 32) + own % 32
    images = max(1, min(layer.N, _SAMPLE_OUTPUTS * layer.N // layer.outputs))
    smaller = attrs.evolve(layer, N=images, C=layer.groups * min(own, fewer), name="")
    return smaller if smaller.op == layer.op and variant.allows(smaller, knobs) else layer


# Wide because it puts the limits together from everything that is known of the kernel.
# Long because a case has some two dozen figures, each named once.
def limits_of(
    case: Case,
    card: Card,
    binary: Binary,
    loop: MainLoop,
    seen: BlockTraffic,
    before: Sequence[Instruction],
    *,
    warm: bool = False,
) -> Limits:
    """The limits of one case.

    Args:
        case: the layer and its kernel.
        card: the GPU.
        binary: the kernel's.
        loop: its main loop for this layer.
        seen: what one block moves.
        before: instructions before the main loop.
        warm: see `examine`.
    """
    layer, variant = case.layer, _variant(case)
    geometry = compilers.geometry(variant, layer, case.knobs, instances=case.instances)
    shared = binary.shared_bytes + geometry.shared_bytes
    fits = occupancy(card, geometry.block, binary.registers, shared)
    if fits.blocks < 1:
        raise UserError(fits.limit, f"a block of {variant.name} does not fit on a {card.name}")

    executed = case.instances * variant.counts_for(layer, case.knobs)["macs_executed"]
    block_macs = executed / geometry.grid
    read_bytes = operand_bytes(case.instances * (layer.weights + layer.inputs), case.dtype)
    moved_bytes = operand_bytes(case.instances * (layer.weights + layer.activations), case.dtype)
    scale = block_macs / max(1, seen.macs_executed)
    block_reads = _SECTOR * scale * (seen.sectors["weight"] + seen.sectors["input"])
    in_l2 = warm and moved_bytes <= card.l2_bytes
    first = 0.0 if in_l2 else min(1.0, read_bytes / (block_reads * geometry.grid))  # the rest is found in L2
    latency = first * card.dram_latency + (1 - first) * card.l2_latency

    passes = max(1, round(block_macs / (geometry.block * loop.macs) + 0.4))
    units = block_work(case, card, loop, seen, geometry, passes, scale)
    start_cycles = sum(max(1, one.stall) for one in before)
    sums = sum_cycles(case, card, geometry)
    work = BlockWork(units, passes * loop.warp_pass(latency), start_cycles + latency, sums)
    spilled = geometry.workspace_bytes or 0
    dram_bytes = (0 if in_l2 else moved_bytes) + (2 * spilled if spilled > card.l2_bytes else 0)
    told = predict(card, work, grid=geometry.grid, blocks=fits.blocks, dram_bytes=dram_bytes)
    compute_s = case.instances * layer.macs / card.peak_macs_per_s(case.dtype)
    memory_s = moved_bytes / card.dram_bytes_per_s
    # A block alone, its operands in DRAM: how much of them is under way in the mean (Little's law).
    alone = passes * loop.warp_pass(card.dram_latency) + start_cycles + card.dram_latency
    loads = scale * sum(seen.global_reads.values()) / geometry.block
    cycles = work.cycles(fits.blocks)[0]
    return Limits(
        case=case,
        card=card,
        registers=binary.registers,
        spill_bytes=binary.spill_bytes,
        shared_bytes=shared,
        threads=geometry.block,
        blocks=fits.blocks,
        blocks_limit=fits.limit,
        grid=geometry.grid,
        waves=told.waves,
        loop_instructions=len(loop.instructions),
        instructions_per_mac=loop.instructions_per_mac,
        moves_between_mma=loop.moves_between_mma,
        bytes_per_mac=block_reads * geometry.grid / (case.instances * layer.macs),
        conflicts=_conflicts(seen),
        loads_in_flight=loads * card.dram_latency / alone,
        bytes_in_flight=fits.blocks * block_reads * card.dram_latency / alone,
        bytes_wanted=card.bytes_in_flight,
        time_s=told.time_s,
        peak="DRAM" if memory_s > compute_s else "FP32" if case.dtype == "fp32" else "tensor",
        share_of_peak=max(compute_s, memory_s) / told.time_s,
        binds=told.binds,
        unit_shares={unit: fits.blocks * one / cycles for unit, one in work.unit_cycles.items()},
    )


def block_work(
    case: Case, card: Card, loop: MainLoop, seen: BlockTraffic, grid: Geometry, passes: int, scale: float
) -> dict[str, float]:
    """Cycles by unit for which one block keeps a multiprocessor busy.

    Of a tile's blocks one adds up the sums of all: in the mean each fetches as many as it has put.
    """
    threads = grid.block
    added = 4 * _shared_sums(case) / grid.grid
    warps, counted = -(-threads // 32), loop.tally
    stores = sum(seen.global_writes.values()) / threads  # of a lane
    loads = scale * sum(seen.global_reads.values()) / threads
    in_loop = passes * (counted["LDG"] + counted["LDGSTS"] + counted["STG"])
    multiplies = passes * warps * 32 * loop.macs
    issued = passes * len(loop.instructions) + _ACCESS_INSTRUCTIONS * max(0.0, loads + stores - in_loop)
    requests = sum(seen.requested_sectors.values()) / 4  # 128 bytes a cycle
    instructions = passes * warps * counted["LDG"] + warps * stores
    sectors = scale * (seen.sectors["weight"] + seen.sectors["input"]) + seen.sectors["output"]
    bytes_l2 = _SECTOR * sectors + added
    work = {
        "issue": issued * warps / _SCHEDULERS,
        "L1": scale * (seen.read_cycles + seen.write_cycles) + max(scale * requests, instructions),
        "L2": bytes_l2 / card.l2_bytes_per_cycle,
    }
    if case.dtype == "fp32":
        work["FP32"] = multiplies / card.fp32_lanes
    else:
        rate = card.peak_macs_per_s(case.dtype) / card.sms / card.clock_hz * card.mma_share
        work["tensor"] = multiplies / rate
    return work


def sum_cycles(case: Case, card: Card, geometry: Geometry) -> float:
    """Cycles from the end of a tile's last block to its outputs, where blocks share a tile; else 0.

    What it has put must reach L2, then the counter answers; the sums of all come from L2, sixteen loads of
    16 bytes of a thread at a time (csrc/cuda/split.cuh), of four parts: small tiles do not keep all threads
    busy.
    """
    fetched = _shared_sums(case)
    if not fetched:
        return 0.0
    of_block = 4 * fetched / geometry.grid
    of_tile = of_block * int(case.knobs["splits"])
    threads = min(geometry.block, of_block / 64)
    batches = -(-of_tile // (16 * 16 * threads))
    return 2 * card.l2_latency + max(batches * card.l2_latency, of_tile / card.l2_bytes_per_cycle)


def _shared_sums(case: Case) -> int:
    """Partial sums that blocks of a launch fetch of those with which they share a tile."""
    if int(case.knobs.get("splits", 1)) == 1:
        return 0
    return case.instances * _variant(case).counts_for(case.layer, case.knobs)["output_reads"]


def _conflicts(seen: BlockTraffic) -> float:
    least = seen.conflict_free_read_cycles + seen.conflict_free_write_cycles
    return (seen.read_cycles + seen.write_cycles) / least if least else 1.0


def _variant(case: Case) -> Variant:
    return registry("cuda")[case.variant]


def _runs(case: Case, arch: int) -> bool:
    launch = _variant(case).cuda
    return launch is not None and arch >= launch.least_arch


def _source(case: Case, arch: int) -> Source:
    variant = _variant(case)
    headers = compilers.device_headers()
    headers["constants.cuh"] = compilers.constants(variant, case.layer, case.knobs, dtype=case.dtype)
    return Source(variant.name, variant.path.read_text("utf-8"), headers, arch)
