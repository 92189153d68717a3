"""Does a row's interval hold the truth on sensors less kind than documented? Replays with known joules.

    python -m benchmarks.sensor_truth                    # 5 cards of each sensor, 30 visits on each
    python -m benchmarks.sensor_truth --seeds 20 lags    # only sensors whose name has that word

Time is replayed: 150 visits of a sensor take some 20 s of a core, all of them some four minutes on two cores.

Every visit goes through all lines that a real GPU would run: the meter starts, settles, reads every 5 ms, and
makes a row. `covered`, `bias`, `half-width` (median of the 95% interval) and `worst` error are those of rows
that are not flagged; `lost` is the share that is flagged or has no joules.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from unkind_sensors import SENSORS, Truth, visit


def one(name: str, seeds: int, visits: int) -> Truth:
    """A sensor's line."""
    return visit(name, seeds=seeds, visits=visits)


def main() -> None:
    """Replay and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", nargs="?", default="", help="only sensors with this in their name")
    parser.add_argument("--seeds", type=int, default=5, help="cards of each sensor (default: 5)")
    parser.add_argument("--visits", type=int, default=30, help="visits on each card (default: 30)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    options = parser.parse_args()
    names = [name for name in SENSORS if options.word in name]
    print(f"{'sensor':<42} {'bias':>7} {'covered':>8} {'half-width':>10} {'worst':>7} {'lost':>6}")
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [pool.submit(one, name, options.seeds, options.visits) for name in names]
        for name, job in zip(names, jobs, strict=True):
            found = job.result()
            print(
                f"{name:<42} {100 * found.bias:+6.2f}% {100 * found.covered:7.1f}% "
                f"{100 * found.half_width:9.2f}% {100 * found.worst:6.2f}% {100 * found.lost:5.1f}%",
                flush=True,
            )
            for reason, times in Counter(found.why).most_common(3):
                print(f"    {times} times: {reason[:150]}")


if __name__ == "__main__":
    main()
