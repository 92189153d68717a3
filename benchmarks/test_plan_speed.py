"""Planning 100,000 cases: under 5 seconds and 500 MB resident, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dibench import kernels, plan
from dibench.plan import file as plan_file

PLAN = f"""
[[layers]]
networks = "all"
batches  = {list(range(1, 88))}
[[kernels]]
stationarity = "none"
[[kernels]]
fast = true
"""


def make() -> plan.Plan:
    file = plan_file.parse_plan(PLAN, where="benchmark", name="benchmark")
    return plan.make_plan(file, backend="cpu", seed=1, registry=kernels.registry("cpu"))


def test_plan_100_000_cases(benchmark: Any) -> None:
    made = benchmark.pedantic(make, rounds=3)
    benchmark.extra_info["cases"] = len(made.cases)
    child = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    print(child.stdout)
    benchmark.extra_info["alone"] = child.stdout


if __name__ == "__main__":
    begin = time.process_time()
    count = len(make().cases)
    seconds = time.process_time() - begin
    # Not ru_maxrss: on Linux it begins with the size of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    print(f"{count} cases in {seconds:.2f} s of processor time, {peak_mb:.0f} MB resident at most")
