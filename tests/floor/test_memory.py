"""Memory that is left: the machine's, or what the tightest control group leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dibench.memory import available_bytes

GB = 10**9
MACHINE = {"proc/meminfo": "MemTotal: 32000000 kB\nMemAvailable:   20000000 kB\n"}
V2 = "sys/fs/cgroup/"
V1 = "sys/fs/cgroup/memory/"


def limited_v2(group: str, most: str, used: int, inactive: int = 0) -> dict[str, str]:
    stat = f"anon 5\ninactive_file {inactive}\n"
    names = {"memory.max": most, "memory.current": str(used), "memory.stat": stat}
    return {f"{V2}{group}{name}": f"{text}\n" for name, text in names.items()}


def limited_v1(group: str, most: int, used: int, inactive: int = 0) -> dict[str, str]:
    stat = f"cache 7\ntotal_inactive_file {inactive}\n"
    names = {"limit_in_bytes": str(most), "usage_in_bytes": str(used), "stat": stat}
    return {f"{V1}{group}memory.{name}": f"{text}\n" for name, text in names.items()}


SLURM = {"proc/self/cgroup": "0::/system.slice/slurmd/job_7/step_0\n"}
DOCKER_V1 = {"proc/self/cgroup": "9:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 20.48 * GB),
        (SLURM, 20.48 * GB),
        (SLURM | limited_v2("system.slice/slurmd/job_7/step_0/", "max", 5 * GB), 20.48 * GB),
        (SLURM | limited_v2("system.slice/slurmd/job_7/step_0/", str(8 * GB), 5 * GB), 3 * GB),
        # The job's limit binds its step; files in the page cache are given up before anything is killed.
        (SLURM | limited_v2("system.slice/slurmd/job_7/", str(8 * GB), 5 * GB, 4 * GB), 7 * GB),
        (SLURM | limited_v2("system.slice/slurmd/job_7/", str(8 * GB), 9 * GB), 0),
        (SLURM | limited_v2("", str(2 * GB), 1 * GB), 1 * GB),
        (DOCKER_V1 | limited_v1("docker/ab/", 2**63 - 4096, 5 * GB), 20.48 * GB),
        (DOCKER_V1 | limited_v1("docker/ab/", 4 * GB, 3 * GB, 1 * GB), 2 * GB),
        (DOCKER_V1 | limited_v1("", 4 * GB, 3 * GB), 1 * GB),  # inside, the own group is the top
        (SLURM | limited_v2("system.slice/slurmd/job_7/", "garbage", 5 * GB), 20.48 * GB),
    ],
)
def test_the_tightest_limit_counts(files: dict[str, str], left: float, tmp_path: Path) -> None:
    for name, text in (MACHINE | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_bytes(tmp_path) == left


def test_this_process_has_some() -> None:
    assert available_bytes() > 2**20
