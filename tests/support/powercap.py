"""A powercap tree in a directory, whose counters follow a replayed clock."""

from __future__ import annotations

from pathlib import Path


class Machine:
    """A powercap tree whose counters follow a replayed clock: 50 W packages, 5 W DRAM, steps of 1 ms."""

    RANGE_UJ = 262_143_328_850

    def __init__(self, root: Path, packages: int = 2) -> None:
        self.root, self.now = root, 0.0
        self.watts: dict[Path, tuple[float, int]] = {}
        self.shown: dict[Path, int] = {}
        for package in range(packages):
            top = root / f"intel-rapl:{package}"
            self.zone(top, f"package-{package}", 50.0, 1000 * package)
            self.zone(top / f"intel-rapl:{package}:0", "core", 30.0)
            self.zone(top / f"intel-rapl:{package}:1", "dram", 5.0, 1000 * package)
        # Readings that contain, or repeat, the packages.
        self.zone(root / f"intel-rapl:{packages}", "psys", 120.0)
        self.zone(root / "intel-rapl-mmio:0", "package-0", 50.0)

    def zone(self, path: Path, name: str, watts: float, start_uj: int = 0) -> None:
        path.mkdir(parents=True)
        (path / "name").write_text(name + "\n")
        (path / "max_energy_range_uj").write_text(f"{self.RANGE_UJ}\n")
        (path / "energy_uj").write_text(f"{start_uj}\n")
        self.watts[path / "energy_uj"] = (watts, start_uj)

    def pass_time(self, seconds: float) -> float:
        self.now += seconds
        ticks = int(self.now * 1000 + 1e-6)
        for counter, (watts, start_uj) in self.watts.items():
            now_uj = (start_uj + int(ticks * watts * 1000)) % self.RANGE_UJ
            if self.shown.get(counter) != now_uj:
                self.shown[counter] = now_uj
                counter.write_text(f"{now_uj}\n")
        return self.now

    def clock(self) -> float:
        return self.pass_time(0.0002)
