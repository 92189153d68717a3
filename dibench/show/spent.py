"""What blocks of somebody's code spent, in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dibench.numbers import UNKNOWN, count, plain, short
from dibench.show.blocks import Block, Headline, Note, Table, columns

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_SHOWN = 12


class Cost(Protocol):
    """What is known of a block, or of several together."""

    @property
    def name(self) -> str:
        """Of the block."""

    @property
    def time_s(self) -> float | None:
        """None while it runs."""

    @property
    def energy_j(self) -> float | None:
        """None where it is not known."""

    @property
    def energy_ci_j(self) -> float | None:
        """Half-width of the 95% interval."""

    @property
    def power_w(self) -> float | None:
        """Mean power."""

    @property
    def energy_source(self) -> str:
        """The sensor, or `none`."""

    @property
    def reason(self) -> str:
        """Why there are no joules, or why they are rough."""


def in_a_line(cost: Cost) -> str:
    """`training step: 12.3 J ± 0.4, 2.31 s, 5.3 W (rapl)`."""
    before = f"{cost.name}: " if cost.name else ""
    if cost.time_s is None:
        return f"{before}{cost.reason}"
    if cost.energy_j is None:
        return f"{before}{short(cost.time_s, 's')}, no joules: {cost.reason}"
    power = f"{plain(cost.power_w)} W ({cost.energy_source})"
    said = f"{before}{_energy(cost)}, {short(cost.time_s, 's')}, {power}"
    return f"{said}; {cost.reason}" if cost.reason else said


def _energy(cost: Cost) -> str:
    """Energy and its interval in one unit: `12.3 J ± 0.4`."""
    joules = short(cost.energy_j, "J")
    if cost.energy_j is None or not cost.energy_ci_j:
        return joules
    size, unit = joules.split(" ")
    scale = cost.energy_j / float(size) if float(size) else 1.0
    return f"{joules} ± {plain(cost.energy_ci_j / scale, 1)}" if unit else joules


def blocks(cost: Cost) -> list[Block]:
    """One block's answer."""
    return [Headline(in_a_line(cost)), *_basis([cost])]


def calls(total: Cost, each: Sequence[Cost]) -> list[Block]:
    """All calls of a function together, then the last of them."""
    shown = list(enumerate(each, 1))[-_MOST_SHOWN:]
    few = f", the last {len(shown)} of {count(len(each))}" if len(shown) < len(each) else ""
    names = ("call", "energy", "time", "power (W)", "")
    rows = [
        [
            str(number),
            UNKNOWN if one.energy_j is None else _energy(one),
            short(one.time_s, "s"),
            plain(one.power_w),
            one.reason,
        ]
        for number, one in shown
    ]
    table = Table(f"Each call{few}", columns(*names, text=("",), wraps=("",)), rows)
    return [Headline(calls_in_a_line(total, each)), *([table] if each else []), *_basis(each)]


def calls_in_a_line(total: Cost, each: Sequence[Cost]) -> str:
    """`f, 10 calls: 12.3 J ± 0.4, 2.31 s, 5.3 W (rapl)`."""
    number = count(len(each), "call")
    if not each:
        return f"{total.name}: not called yet"
    said = in_a_line(total)
    return f"{total.name}, {number}: {said.removeprefix(f'{total.name}: ')}"


def _basis(each: Sequence[Cost]) -> list[Block]:
    sources = {one.energy_source for one in each} - {"none"}
    if not sources:
        return []
    what = "the processors and their memory" if sources == {"rapl"} else "the whole GPU"
    return [
        Note(
            f"Joules of {what} while the code ran, whoever used them, idle power included; ± is what the "
            "sensor's updates leave open at both edges."
        )
    ]
