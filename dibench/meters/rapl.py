"""RAPL: the energy counters of the processor, as Linux powercap shows them.

Zones are directories `intel-rapl:0` (a package) and `intel-rapl:0:1` (a part of it), on AMD too. The energy
of a machine is the sum over its packages and their DRAM. The zones `core` and `uncore` are parts of a
package and `psys` contains the packages, so adding either would count joules twice. Counters are in
microjoules and wrap after `max_energy_range_uj`. A package without DRAM counter leaves memory out; the facts
say which zones were summed.

A window lasts at least 20 update periods (`dibench.measure.windows`). Its edges are *not* aligned to updates:
each edge reads up to one period late, with the same distribution, so the mean over windows is unbiased, and
quantisation is part of the spread from which the interval is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.meters.base import Reading

ROOT = Path("/sys/class/powercap")
_UPDATES_WATCHED = 20
_LONGEST_WAIT_S = 1.0  # a counter that does not move for so long has no sensor (virtual machines)
_REMEDY = (
    "run as root, or allow it until the next boot with: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj /sys/class/powercap/intel-rapl:*:*/energy_uj"
)


@attrs.frozen
class Zone:
    """One counter: its name, such as `package-0` or `package-0/dram`, its file and its range."""

    name: str
    counter: Path
    range_uj: int

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

    def joules(self, before_uj: int, after_uj: int) -> float:
        """Energy between two readings less than one range apart.

        >>> Zone("package-0", Path("energy_uj"), 1_000_000).joules(900_000, 100_000)
        0.2
        """
        passed_uj = after_uj - before_uj
        return (passed_uj + self.range_uj if passed_uj < 0 else passed_uj) / 1e6


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
            "virtual machine does not offer one; use --meter model or --meter none"
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
        return Zone(name, path / "energy_uj", int((path / "max_energy_range_uj").read_text()))
    except (OSError, ValueError) as error:
        raise UserError("RAPL", f"{path / 'max_energy_range_uj'} cannot be read: {error}") from None


def detect_period_s(zones: tuple[Zone, ...], clock: Callable[[], float]) -> float:
    """The update period: the median distance between changes of the first package's counter.

    Raises:
        UserError: the counter does not move.
    """
    zone = zones[0]
    changes: list[float] = []
    seen, last_change = zone.read_uj(), clock()
    while len(changes) <= _UPDATES_WATCHED:
        now_uj, now = zone.read_uj(), clock()
        if now_uj != seen:
            seen, last_change = now_uj, now
            changes.append(now)
        elif now - last_change > _LONGEST_WAIT_S:
            rule = f"{zone.counter} does not change: no sensor behind it (a virtual machine?)"
            raise UserError("RAPL", rule, now_uj)
    distances = sorted(after - before for before, after in pairwise(changes))
    return distances[len(distances) // 2]


@attrs.frozen
class RaplMeter:
    """Package and DRAM energy of a window."""

    zones: tuple[Zone, ...]
    period_s: float
    source: str = "rapl"
    has_variance: bool = True

    @classmethod
    def open(cls, root: Path = ROOT, clock: Callable[[], float] = time.perf_counter) -> RaplMeter:
        """The meter of this machine.

        Raises:
            UserError: there is no counter, it may not be read, or it does not move.
        """
        zones = find_zones(root)
        for zone in zones:
            zone.read_uj()
        return cls(zones, detect_period_s(zones, clock))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which zones are summed, and what they leave out."""
        return {
            "kind": "sensor: Linux powercap (RAPL), sum over packages and DRAM",
            "zones": [zone.name for zone in self.zones],
            "period_s": self.period_s,
            "note": "gross energy of the whole machine's packages; not calibrated against an external meter",
        }

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time and the joules of all zones between its edges."""
        before_uj = [zone.read_uj() for zone in self.zones]
        time_s = run()
        after_uj = [zone.read_uj() for zone in self.zones]
        readings = zip(self.zones, before_uj, after_uj, strict=True)
        return Reading(time_s, sum(zone.joules(before, after) for zone, before, after in readings))
