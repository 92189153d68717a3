"""What OpenMP gives the kernels of a processor, asked inside a parallel region of the runtime that runs them.

OMP_THREAD_LIMIT, OMP_PLACES and cpusets leave fewer threads or cores than were asked for; how many there are
is known nowhere else.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.processes import signals_held


@attrs.frozen
class Team:
    """The threads of a parallel region."""

    threads: int
    cpus: int
    """On how many CPUs they may run, all together."""
    bound: bool
    """Each is bound to one CPU, which OMP_PROC_BIND, OMP_PLACES and GOMP_CPU_AFFINITY do."""

    def facts(self) -> dict[str, Any]:
        """For the manifest, with the settings of waiting that times follow from."""
        return {
            "threads": self.threads,
            "thread_cpus": self.cpus,
            "threads_bound": self.bound,
            "openmp_spin_count": os.environ.get("GOMP_SPINCOUNT"),
            "openmp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        }


IDENTITY = {
    "threads": "threads",
    "CPUs of the threads": "thread_cpus",
    "threads bound to CPUs": "threads_bound",
    "GOMP_SPINCOUNT": "openmp_spin_count",
    "OMP_WAIT_POLICY": "openmp_wait_policy",
}
"""Facts that must not change for a sweep to resume, as messages call them."""


def team(library: Path, wanted: int | None = None) -> Team:
    """The team of a parallel region.

    OMP_DYNAMIC is switched off for the calling thread: as many threads as are there run at every launch, and
    not as many as the load of the moment allows.

    Args:
        library: that computes in parallel; its own OpenMP is asked.
        wanted: threads; by default one for each CPU that this process may use.
    """
    runtime = ctypes.CDLL(str(library))
    try:
        run, set_dynamic = runtime.GOMP_parallel, runtime.omp_set_dynamic
        allowed = int(
            runtime.omp_get_num_procs()
        )  # where OpenMP binds threads, the affinity is only this one's
    except AttributeError:  # its threads are its own, or there are none
        allowed = len(os.sched_getaffinity(0))
        return Team(wanted or allowed, allowed, bound=False)
    masks: list[set[int]] = []
    lock = threading.Lock()

    def member(_: object) -> None:
        mask = os.sched_getaffinity(0)  # of this thread
        with lock:
            masks.append(mask)

    set_dynamic(0)
    with signals_held():
        run(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(member), None, wanted or allowed, 0)
    bound = allowed > 1 and all(len(mask) == 1 for mask in masks)
    return Team(len(masks), len(set[int]().union(*masks)), bound)


def check_unchanged(library: Path, opened: Team) -> None:
    """Refuse to measure where the threads are not those that the device was opened with.

    Raises:
        UserError: a cpuset or an affinity has changed meanwhile.
    """
    now = team(library, opened.threads)
    if now != opened:
        rule = (
            f"must be {opened.threads} on {opened.cpus} CPUs, as when the device was opened: "
            f"a cpuset or an affinity has changed (they run on {now.cpus} now)"
        )
        raise UserError("threads", rule, now.threads)
