"""The loop in which a kernel spends its time: found in its machine code, and how one warp goes through it.

A kernel has several loops with multiply-adds, for the ways in which operands can lie in memory, and ways
through each that depend on the layer. Which one runs is told by what the harness saw of a block
(`BlockTraffic`): the way through a loop whose bytes per multiply-add, by width of access, are nearest to
that.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from dibench.backends.host import BlockTraffic
from dibench.limits.machine_code import Instruction

_MOST_WAYS = 4096
_WARM_UP, _PASSES = 4, 12  # enough for batches of copies that come round every second, third or fourth pass
_LANES = 32
_MMA_MACS = {"1688": 16 * 8 * 8, "16816": 16 * 8 * 16}

# Cycles from an instruction that sets a barrier to its result (Jia et al. 2018; Luo et al. 2024).
_LATENCY = {
    "LDS": 30,
    "LDSM": 33,
    "SHFL": 24,
    "MUFU": 20,
    "I2F": 16,
    "F2I": 16,
    "S2R": 20,
    "LDC": 30,
    "ULDC": 30,
}
_OTHER_LATENCY = 12
_BARRIER_CYCLES = 20  # from the last warp's arrival


@attrs.frozen
class MainLoop:
    """One way through a loop, as the instructions that a warp executes in one pass."""

    instructions: tuple[Instruction, ...]
    macs: int
    """Of one lane, in one pass."""

    @property
    def tally(self) -> Counter[str]:
        """How often each instruction occurs, without modifiers."""
        return Counter(one.kind for one in self.instructions)

    @property
    def instructions_per_mac(self) -> float:
        """Of a lane; on tensor cores a lane's share of an mma counts as its multiply-adds."""
        return len(self.instructions) / self.macs

    @property
    def moves_between_mma(self) -> int:
        """Register moves between the first mma and the last: nothing but work for the scheduler."""
        places = [i for i, one in enumerate(self.instructions) if one.kind == "HMMA"]
        between = self.instructions[places[0] : places[-1]] if places else ()
        return sum(_is_move(one) for one in between)

    def warp_pass(self, global_latency: float) -> float:
        """Cycles from one pass to the next, where a load from global memory takes so many.

        The warp issues in order, waits where the compiler says (machine_code.py), and finds every functional
        unit free.
        """
        clock, first = 0.0, 0.0
        pending: dict[int, list[float]] = {barrier: [] for barrier in range(6)}
        copies = 0.0  # when the last of the copies to shared memory so far is done
        for number in range(_WARM_UP + _PASSES):
            if number == _WARM_UP:
                first = clock
            for one in self.instructions:
                for barrier in one.waits_for:
                    clock = max([clock, *pending[barrier]])
                    pending[barrier].clear()
                if one.kind == "DEPBAR":
                    clock = _wait_for_all_but(one, pending, clock)
                done = clock + (global_latency if _loads_global(one) else _latency(one))
                if one.kind == "LDGSTS":
                    copies = max(copies, done)
                if one.kind == "LDGDEPBAR":
                    done = copies
                if one.write_barrier is not None:
                    pending[one.write_barrier].append(done)
                if one.read_barrier is not None:
                    pending[one.read_barrier].append(clock + _OTHER_LATENCY)
                clock += max(1, one.stall) + (_BARRIER_CYCLES if one.kind == "BAR" else 0)
        return (clock - first) / _PASSES


def _wait_for_all_but(one: Instruction, pending: Mapping[int, list[float]], clock: float) -> float:
    """When DEPBAR.LE SBn, k lets the warp go on: all but the last k of what set the barrier are done."""
    name, _, allowed = one.operands.partition(",")
    barrier = int(name.strip().removeprefix("SB"))
    number = int(allowed.split(",")[0].strip() or "0x0", 16)
    waited = pending[barrier][: len(pending[barrier]) - number]
    del pending[barrier][: len(waited)]
    return max([clock, *waited])


def _loads_global(one: Instruction) -> bool:
    return one.kind in ("LDG", "LDGSTS", "LD")


def _latency(one: Instruction) -> int:
    return _LATENCY.get(one.kind, _OTHER_LATENCY)


def _is_move(one: Instruction) -> bool:
    return one.kind == "MOV" or one.name.startswith("IMAD.MOV")


def macs_of(one: Instruction, *, tensor: bool) -> int:
    """Multiply-adds of one lane that an instruction does for the layer."""
    if tensor:
        shape = one.name.split(".")[1] if one.kind == "HMMA" else ""
        return _MMA_MACS.get(shape, 0) // _LANES
    return {"FFMA": 1, "FMUL": 1, "FFMA2": 2}.get(one.kind, 0)


def find(code: Sequence[Instruction], traffic: BlockTraffic, *, tensor: bool) -> MainLoop | None:
    """The way through a loop that is nearest to the traffic; None where no loop multiplies."""
    found: list[tuple[float, float, MainLoop]] = []
    wanted = _of_traffic(traffic)
    for loop in _loops(code, tensor=tensor):
        for way in _ways(loop):
            macs = sum(macs_of(one, tensor=tensor) for one in way)
            if macs:
                main = MainLoop(way, macs)
                found.append((_distance(_of_way(main), wanted), main.instructions_per_mac, main))
    if not found:
        return None
    nearest = min(distance for distance, _, _ in found)
    close = [one for one in found if one[0] <= nearest + 0.005]  # an unrolled loop and its remainder
    return min(close, key=lambda one: one[1])[2]


def way_to(code: Sequence[Instruction], loop: MainLoop) -> list[Instruction]:
    """The shortest way from the kernel's first instruction to its main loop."""
    at = {one.address: place for place, one in enumerate(code)}
    goal = at[loop.instructions[0].address]
    came_from = {0: 0}
    best = {0: 0}
    heap = [(0, 0)]
    while heap:
        length, place = heapq.heappop(heap)
        if place == goal:
            break
        one = code[place]
        nexts = [place + 1] if not _always_leaves(one) else []
        if one.target in at:
            nexts.append(at[one.target])
        for following in nexts:
            if following < len(code) and length + 1 < best.get(following, len(code) + 1):
                best[following], came_from[following] = length + 1, place
                heapq.heappush(heap, (length + 1, following))
    way, place = [], goal
    while place and place in came_from:
        place = came_from[place]
        way.append(code[place])
    return way[::-1]


def _always_leaves(one: Instruction) -> bool:
    """Whether the next instruction never follows."""
    return one.kind in ("BRA", "EXIT", "RET") and not _conditional(one)


def _conditional(one: Instruction) -> bool:
    return one.predicated or one.operands.lstrip("!").startswith(("P", "UP"))


def _loops(code: Sequence[Instruction], *, tensor: bool) -> list[Sequence[Instruction]]:
    """Loops with multiply-adds that hold no other such loop."""
    at = {one.address: place for place, one in enumerate(code)}
    spans = set()
    for place, one in enumerate(code):
        if one.target is not None and one.target in at and at[one.target] < place:
            inside = code[at[one.target] : place + 1]
            if any(macs_of(each, tensor=tensor) for each in inside):
                spans.add((at[one.target], place))
    inner = [
        (begin, end)
        for begin, end in spans
        if not any((b, e) != (begin, end) and begin <= b and e <= end for b, e in spans)
    ]
    return [code[begin : end + 1] for begin, end in sorted(inner)]


def _ways(loop: Sequence[Instruction]) -> Iterator[tuple[Instruction, ...]]:
    """Every way from the loop's first instruction to its last; a branch that leaves the loop is not taken."""
    at = {one.address: place for place, one in enumerate(loop)}
    open_ways: list[tuple[int, tuple[tuple[int, int], ...]]] = [(0, ())]
    number = 0
    while open_ways and number < _MOST_WAYS:
        start, parts = open_ways.pop()
        place = start
        while place < len(loop) - 1:
            one = loop[place]
            if one.target is not None:
                there = at.get(one.target)
                forward = there is not None and there > place
                if forward and _conditional(one):
                    open_ways.append((there or 0, (*parts, (start, place + 1))))
                elif forward:
                    parts, start = (*parts, (start, place + 1)), there or 0
                    place = start
                    continue
                elif _always_leaves(one):
                    break
            elif _always_leaves(one):
                break
            place += 1
        else:
            number += 1
            spans = [*parts, (start, len(loop))]
            yield tuple(one for begin, end in spans for one in loop[begin:end])


def _of_traffic(traffic: BlockTraffic) -> dict[str, float]:
    """Bytes per multiply-add, by width, but for reads of shared memory, which the compiler joins."""
    found = {f"global {width}": width * count for width, count in traffic.global_reads.items()}
    found |= {f"write {width}": width * count for width, count in traffic.shared_writes.items()}
    found["read"] = sum(width * count for width, count in traffic.shared_reads.items())
    return {kind: count / max(1, traffic.macs_executed) for kind, count in found.items()}


def _of_way(main: MainLoop) -> dict[str, float]:
    found: Counter[str] = Counter()
    for one in main.instructions:
        if _loads_global(one):
            found[f"global {one.width}"] += one.width
        if one.kind == "LDS" and one.operands != "RZ, [RZ]":  # ptxas puts such, switched off, before LDGSTS
            found["read"] += one.width
        if one.kind == "LDSM":
            found["read"] += 4 * int(one.name[-1] if one.name[-1] in "24" else 1)
        if one.kind in ("STS", "LDGSTS"):
            found[f"write {one.width}"] += one.width
    return {kind: count / main.macs for kind, count in found.items()}


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Difference in bytes over their sum: 0 where they agree, 1 where they share nothing."""
    keys = {*one, *other}
    apart = sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in keys)
    return apart / max(1e-12, sum(one.get(key, 0.0) + other.get(key, 0.0) for key in keys))
