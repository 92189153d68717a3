"""What limits CUDA kernels on a card: layers, their kernels' needs, and whole networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import plain, short
from dibench.show.blocks import Block, Cell, Note, Table, columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dibench.limits.cards import Card
    from dibench.limits.choice import NetworkLimits
    from dibench.limits.examine import Limits

_PAPER = (
    "On paper, from machine code, the harness's addresses and data sheets: no GPU was asked. Times are "
    "bounds from below, with operands in DRAM."
)
_BINDS = {
    "DRAM": "(its bandwidth)",
    "FP32": "(multiply-adds)",
    "tensor": "(what mma reaches)",
    "issue": "(a scheduler starts one instruction a cycle)",
    "L1": "(shared memory and L1: 128 bytes a cycle)",
    "L2": "(its bandwidth to a multiprocessor)",
    "latency": "(warps wait for loads: too few are under way)",
    "few blocks": "(the grid does not fill the card once)",
    "tail": "(in the last wave much of the card idles)",
    "sums": "(the last block of a tile adds up those of all that share it)",
    "start": "(a kernel's start takes longer than its work)",
}
_SOME_CONFLICTS = 1.005


def layers(found: Sequence[Limits], card: Card, *, full: bool) -> list[Block]:
    """A row for each layer and kernel; `full` adds what the kernels take of a multiprocessor."""
    rows = []
    above = ""
    for one in found:
        layer = one.case.layer
        name = f"{layer.name or layer} N{layer.N}" if layer.name else str(layer)
        rows.append(
            [
                "" if name == above else name,
                _kernel(one),
                plain(one.waves, 2),
                short(one.time_s, "s"),
                f"{plain(100 * one.share_of_peak, 2)}% {one.peak}",
                one.binds,
            ]
        )
        above = name
    heads = columns(
        "layer", "kernel", "waves", "time", "of peak", "binds",
        text=["kernel", "of peak", "binds"], wraps=["layer"], ranks={"waves": 1},
    )  # fmt: skip
    table = Table(f"**Limits on {_card(card)}**", heads, rows)
    binds = {one.binds: None for one in found}
    return [table, *(needs(found) if full else []), *_legend(binds)]


def needs(found: Sequence[Limits]) -> list[Block]:
    """What each kernel takes of a multiprocessor, and how its main loop goes."""
    rows = []
    seen = set()
    for one in found:
        row = [
            _kernel(one, tiles=True),
            f"{one.registers}{'+' if one.spill_bytes else ''}",
            plain(one.shared_bytes / 1024),
            f"{one.blocks}x{one.threads // 32}",
            str(one.loop_instructions),
            plain(one.instructions_per_mac, 3),
            str(one.moves_between_mma) if one.peak == "tensor" or one.case.dtype != "fp32" else "",
            plain(one.bytes_per_mac, 2),
            f"{plain(one.conflicts)}x" if one.conflicts >= _SOME_CONFLICTS else "",
            plain(one.loads_in_flight, 2),
            f"{plain(100 * one.bytes_in_flight / one.bytes_wanted, 2)}%",
        ]
        if tuple(row) not in seen:
            rows.append(row)
        seen.add(tuple(row))
    heads = columns(
        "kernel", "regs", "KiB", "warps", "loop", "i/MAC", "moves", "B/MAC", "banks", "loads",
        "flight", wraps=["kernel"], ranks={"loop": 1},
    )  # fmt: skip
    legend = (
        "regs: of a thread, + where it spills. KiB: shared memory of a block. warps: blocks on a "
        "multiprocessor x warps of each. loop: instructions of the main loop; i/MAC: for a multiply-add of a "
        "lane. moves: of registers between its mma. B/MAC: bytes from L2. banks: cycles of shared memory "
        "over those without conflicts. loads: of a thread under way, on average, where they come from DRAM; "
        "flight: what that makes of the bytes that keep DRAM busy (Little's law)."
    )
    return [Table("**Kernels**", heads, rows, note=legend)]


def networks(found: Sequence[NetworkLimits], card: Card) -> list[Block]:
    """A row for each network, batch and data type."""
    rows: list[list[str | Cell]] = []
    for one in found:
        named = [f"{name} {plain(100 * share, 2)}%" for name, share in one.binds.items() if share >= 0.05]
        rows.append(
            [
                one.network,
                str(one.N),
                one.dtype,
                short(one.time_s, "s"),
                Cell(f"{plain(100 * one.share_of_peak, 2)}%", strong=True),
                ", ".join(named[:3]),
            ]
        )
    heads = columns(
        "network", "N", "dtype", "time", "of peak", "binds, share of time",
        text=["dtype", "binds, share of time"], wraps=["binds, share of time"],
    )  # fmt: skip
    table = Table(f"**Networks on {_card(card)}, each layer by its fastest kernel**", heads, rows)
    binds = dict.fromkeys(name for one in found for name in one.binds)
    peak = "Layers run in fp32 where a type has no kernel for them (depthwise), or none as fast."
    return [table, *_legend(binds), Note(peak)]


def _legend(binds: Mapping[str, object]) -> list[Block]:
    of_peak = (
        "Share of peak: time by the card's data sheet over the kernel's; of multiply-adds, or of bytes that "
        "each pass DRAM once where those take longer. Waves: blocks of the grid over those that the card "
        "holds at once."
    )
    named = "; ".join(f"**{name}** {words}" for name, words in _BINDS.items() if name in binds)
    return [Note(of_peak), Note(f"What binds: {named}."), Note(_PAPER)]


def _card(card: Card) -> str:
    return f"{card.name} (sm_{card.arch})"


def _kernel(one: Limits, *, tiles: bool = False) -> str:
    """Name and data type; with `tiles` channels x positions of a block, or of a thread in reuse kernels."""
    case = one.case
    words = [case.variant]
    if tiles:
        words.append("x".join(str(case.knobs[name]) for name in ("tile_k", "tile_p") if case.knobs.get(name)))
    if case.dtype != "fp32" and not case.variant.endswith(case.dtype):
        words.append(case.dtype)
    return " ".join(words)
