"""Sweeps of a replayed, metered GPU. Run as a program: one sweep, for a test to kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import replayed_device

from dibench.measure.settings import Settings
from dibench.plan import Plan, load_plan
from dibench.plan.shard import Shard
from dibench.sweep.run import Sweep, run_sweep

PLAN = """
[plan]
visits = {visits}
instances = 32
[[layers]]
networks = "all"
batches = [8]
per_op = {per_op}
[[kernels]]
fast = true
"""


def plan_of(directory: Path, visits: int, per_op: int, shard: Shard | None = None) -> Plan:
    path = directory / "plan.toml"
    path.write_text(PLAN.format(visits=visits, per_op=per_op))
    return load_plan(path, backend="cuda", arch=replayed_device.ARCH, shard=shard)


def replayed(plan: Plan, **changes: Any) -> Sweep:
    sweep = Sweep(
        plan=plan,
        backend="replayed_device:backend",
        meter="replayed_device:meter",
        settings=Settings(),
        sources_sha="c" * 64,
    )
    return attrs.evolve(sweep, **changes)


if __name__ == "__main__":
    run_sweep(replayed(plan_of(Path(sys.argv[1]), visits=2, per_op=1)), Path(sys.argv[1]) / "out")
