"""RAPL: the energy counters of the processor, as Linux powercap shows them.

Zones are directories `intel-rapl:0` (a package) and `intel-rapl:0:1` (a part of it), on AMD too. The energy
of a machine is the sum over its packages and their DRAM. The zones `core` and `uncore` are parts of a
package and `psys` contains the packages, so adding either would count joules twice. Counters are in
microjoules and wrap after `max_energy_range_uj`. A package without DRAM counter leaves memory out; the facts
say which zones were summed.

**Mirrors.** Where Linux makes a die a zone (`package-0-die-1`), all dies of some processors (Threadripper,
EPYC) show the counter of the socket: 68 W read twice as 137 W (CodeCarbon, issue 1274). Dies of others have
counters of their own. So zones count as one if they show the same numbers while they are watched.

**Resets.** A counter that went back has wrapped or has begun anew, because the driver was loaded again or the
machine slept (CodeCarbon, pull request 1321). It has wrapped if the joules up to its range and on from zero
are no more than a processor can draw in that time. A window has no joules, and the reason, after a reset, and
where a counter may have wrapped twice (Zeus, issue 91), wraps at an unknown range, or stands still.

A window lasts at least 20 update periods (`dibench.measure.windows`). Its edges are *not* aligned to updates:
each edge reads up to one period late, with the same distribution, so the mean over windows is unbiased, and
quantisation is part of the spread from which the interval is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.meters.base import Reading

ROOT = Path("/sys/class/powercap")
_UPDATES_WATCHED = 20
_LONGEST_WAIT_S = 1.0  # a counter that does not move for so long has no sensor (virtual machines)
_SLOWEST_UPDATE_S = 0.2  # a zone that has not changed until then, while others did, has no sensor
_MOST_W = 2000.0  # no zone draws as much: the largest processors of 2024 are sold as 500 W
_REMEDY = (
    "run as root, or allow it until the next boot with: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj /sys/class/powercap/intel-rapl:*:*/energy_uj"
)


@attrs.frozen
class Zone:
    """One counter: its name, such as `package-0` or `package-0/dram`, its file and its range."""

    name: str
    counter: Path
    range_uj: int | None
    """None where Linux does not tell it."""

    def read_uj(self) -> int:
        """The counter now, in microjoules.

        Raises:
            UserError: the file cannot be read; the message names the remedy.
        """
        try:
            return int(self.counter.read_text())
        except PermissionError:
            raise UserError("RAPL", f"{self.counter} may not be read by this user: {_REMEDY}") from None
        except (OSError, ValueError) as error:
            raise UserError("RAPL", f"{self.counter} cannot be read: {error}") from None

    def joules(self, before_uj: int, after_uj: int, seconds: float) -> float | str:
        """Energy between two readings, or why it is not known.

        >>> zone = Zone("package-0", Path("energy_uj"), 262_143_000_000)
        >>> zone.joules(262_142_900_000, 100_000, 1.0)
        0.2
        >>> zone.joules(60_000_000_000, 5_000_000, 1.0)
        'package-0 went from 6e+10 to 5e+06 µJ in 1 s: a reset?'
        """
        most_uj, passed_uj = _MOST_W * seconds * 1e6, after_uj - before_uj
        if self.range_uj is not None:
            if max(before_uj, after_uj) > self.range_uj:
                return f"{self.name} read more than its range of {self.range_uj:.3g} µJ"
            if most_uj >= self.range_uj:
                return f"{self.name} may have wrapped more than once in {seconds:.3g} s"
            passed_uj += self.range_uj if passed_uj < 0 else 0
        if passed_uj == 0:
            return f"{self.name} did not change in {seconds:.3g} s"
        if min(before_uj, after_uj) < 0 or not 0 < passed_uj <= most_uj:
            return f"{self.name} went from {before_uj:.3g} to {after_uj:.3g} µJ in {seconds:.3g} s: a reset?"
        return passed_uj / 1e6


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Packages and their DRAM, each once.

    Raises:
        UserError: the machine shows no such counters.
    """
    packages = [(path, name) for path in _children(root) if (name := _name(path)).startswith("package")]
    zones = [_zone(path, name) for path, name in packages]
    for path, name in packages:
        zones += [_zone(part, f"{name}/dram") for part in _children(path) if _name(part) == "dram"]
    if not zones:
        rule = (
            f"{root} shows no package counter: the processor, the kernel (module intel_rapl_common) or the "
            "virtual machine does not offer one"
        )
        raise UserError("RAPL", rule)
    return tuple(zones)


def _children(parent: Path) -> list[Path]:
    # Only intel-rapl: the same package appears again as intel-rapl-mmio.
    return sorted(parent.glob("intel-rapl:*"))


def _name(path: Path) -> str:
    try:
        return (path / "name").read_text().strip()
    except OSError:
        return ""


def _zone(path: Path, name: str) -> Zone:
    try:
        range_uj = int((path / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        range_uj = 0
    return Zone(name, path / "energy_uj", range_uj if range_uj > 0 else None)


@attrs.frozen
class Watched:
    """What watching the counters for a while shows."""

    period_s: float
    """The update period: the median distance between changes."""
    zones: tuple[Zone, ...]
    """Each counter once."""
    left_out: Mapping[str, str]
    """Why, by name of zone."""


def watch(zones: tuple[Zone, ...], clock: Callable[[], float]) -> Watched:
    """Read all counters in turn until one has changed often enough, and each once if it does.

    Zones that show the same numbers are one counter, even if one of them was read, or is updated, later than
    the other. Two counters hardly ever show one number: an update is thousands of units of some 61 µJ.

    Raises:
        UserError: no counter moves.
    """
    changes: dict[Zone, list[float]] = {zone: [] for zone in zones}
    shown: dict[Zone, set[int]] = {zone: set() for zone in zones}
    seen, begin = {zone: zone.read_uj() for zone in zones}, clock()
    last_change = begin
    while True:
        now_uj, now = {zone: zone.read_uj() for zone in zones}, clock()
        for zone in zones:
            shown[zone].add(now_uj[zone])
            if now_uj[zone] != seen[zone]:
                changes[zone].append(now)
                last_change = now
        seen = now_uj
        if now - last_change > _LONGEST_WAIT_S:
            rule = f"{zones[0].counter} does not change: no sensor behind it (a virtual machine?)"
            raise UserError("RAPL", rule, now_uj[zones[0]])
        most = max(changes.values(), key=len)
        if len(most) > _UPDATES_WATCHED and (all(changes.values()) or now - begin > _SLOWEST_UPDATE_S):
            break
    left_out = {zone.name: "does not change" for zone in zones if not changes[zone]}
    for first, second in combinations(zones, 2):
        if first.name not in left_out and len(shown[first] & shown[second]) > len(shown[second]) / 2:
            left_out.setdefault(second.name, f"shows the counter of {first.name}")
    distances = sorted(after - before for before, after in pairwise(most))
    kept = tuple(zone for zone in zones if zone.name not in left_out)
    return Watched(distances[len(distances) // 2], kept, left_out)


@attrs.frozen
class RaplMeter:
    """Package and DRAM energy of a window."""

    zones: tuple[Zone, ...]
    period_s: float
    left_out: Mapping[str, str] = MappingProxyType({})
    clock: Callable[[], float] = time.perf_counter
    source: str = "rapl"
    has_variance: bool = True

    @classmethod
    def open(cls, root: Path = ROOT, clock: Callable[[], float] = time.perf_counter) -> RaplMeter:
        """The meter of this machine.

        Raises:
            UserError: there is no counter, it may not be read, or it does not move.
        """
        found = watch(find_zones(root), clock)
        return cls(found.zones, found.period_s, found.left_out, clock)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which zones are summed, and what they leave out."""
        return {
            "kind": "sensor: Linux powercap (RAPL), sum over packages and DRAM",
            "zones": [zone.name for zone in self.zones],
            "left_out": dict(self.left_out),
            "period_s": self.period_s,
            "note": "gross energy of the whole machine's packages; not calibrated against an external meter",
        }

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time and the joules of all zones between its edges."""
        begin, before = self.clock(), self._edge()
        time_s = run()
        after, end = self._edge(), self.clock()
        if isinstance(before, str) or isinstance(after, str):
            return Reading(time_s, None, before if isinstance(before, str) else str(after))
        seconds = max(time_s, end - begin) + 2 * self.period_s
        # Zones that show the same numbers at both edges are one counter, even if they were not watched.
        edges = dict(zip(zip(before, after, strict=True), self.zones, strict=True))
        found = [zone.joules(*edge, seconds) for edge, zone in edges.items()]
        why = "; ".join(one for one in found if isinstance(one, str))
        return Reading(time_s, None if why else sum(one for one in found if not isinstance(one, str)), why)

    def _edge(self) -> list[int] | str:
        """All counters, or why one of them could not be read."""
        try:
            return [zone.read_uj() for zone in self.zones]
        except UserError as error:
            return str(error)
