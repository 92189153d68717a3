"""How much memory is left for this process: of the machine, and of the control groups that it is in.

Under SLURM, in a container or a systemd slice the kernel ends all processes of a group at the group's limit,
however much the machine has left.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 2**62
"""cgroup v1 writes a number near 2**63 where there is no limit."""


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take, by `/proc/meminfo` and the limits of its cgroups (v1 and v2).

    Args:
        root: where `proc` and `sys` are.
    """
    return max(0, min(_of_machine(root), *_of_cgroups(root), _NO_LIMIT))


def _of_machine(root: Path) -> int:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))


def _of_cgroups(root: Path) -> Iterator[int]:
    """What is left of each limit that this process is under: its own group's and those of all above."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            tops, names = (mount, mount / "unified"), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            tops = (mount / "memory", mount / controllers)
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        for top in tops:
            group = top / path.lstrip("/")
            # A container sees its own group as the top, under whatever path the host has it.
            for each in (group, *group.parents):
                yield from _left(each, *names)
                if each == top:
                    break


def _left(group: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """What is left of a group's limit; pages of files that the kernel gives up first do not count as used."""
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if not (most.isdigit() and used.isdigit()) or int(most) > _NO_LIMIT:
        return
    fields = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines() if " " in line)
    given_up = fields.get(cache, "0").strip()
    yield int(most) - max(0, int(used) - (int(given_up) if given_up.isdigit() else 0))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
